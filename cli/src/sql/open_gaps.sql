-- Gaps that were opened before $1 and that nobody has closed.
select id, source, reason, to_char(started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as started_at,
       kafka_partition, kafka_offset
from gaps
where ended_at is null and started_at < $1::text::timestamptz
order by started_at, id

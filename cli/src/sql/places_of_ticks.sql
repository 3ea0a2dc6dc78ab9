-- Where the rows of these events ($1) come from, at the times ($2) that they have.
select ticks.event_id, kafka_partition, kafka_offset, revision
from unnest($1::uuid[], $2::bigint[]) as told (event_id, micros)
join ticks on ticks.event_id = told.event_id
    and ticks.event_time = timestamptz 'epoch' + told.micros * interval '1 microsecond'

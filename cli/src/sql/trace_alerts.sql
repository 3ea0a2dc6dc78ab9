-- The alerts that name event $1, or that the record at $2, $3, $4 has triggered.
select rule, state, message, kafka_partition, kafka_offset, (extract(epoch from fired_at) * 1000000)::bigint as fired_us
from alerts
where event_id = $1 or (trigger_topic = $2 and trigger_partition = $3 and trigger_offset = $4)
order by fired_at, alert_id

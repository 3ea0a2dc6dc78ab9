-- Where the tick of event $1 comes from, if it is between $2 and $3. The key of ticks begins with the time: a day at a time.
select kafka_partition, kafka_offset
from ticks
where event_id = $1 and event_time >= $2::text::timestamptz and event_time < $3::text::timestamptz

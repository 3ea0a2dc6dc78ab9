-- Every index weight and the record that its row came from. $1: rows whose broker_time is older are left out.
select event_id, kafka_partition, kafka_offset, 0::bigint as content
from index_weights
where broker_time >= $1::text::timestamptz

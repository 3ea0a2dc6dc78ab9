-- Every gap and the record that its row came from. $1: rows whose broker_time is older are left out.
select id, kafka_partition, kafka_offset, 0::bigint as content from gaps where broker_time >= $1::text::timestamptz

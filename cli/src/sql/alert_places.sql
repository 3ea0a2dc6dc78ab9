-- Every alert and the record that its row came from. $1: rows whose broker_time is older are left out.
select alert_id, kafka_partition, kafka_offset, 0::bigint as content from alerts where broker_time >= $1::text::timestamptz

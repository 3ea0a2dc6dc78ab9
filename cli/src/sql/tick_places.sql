-- Every row's event and the record that it came from. Streamed in no order: the audit has the topic's events sorted.
select event_id, kafka_partition, kafka_offset from ticks

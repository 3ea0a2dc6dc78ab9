-- Fails where the table, or a column that the audit reads, is not there.
select event_id, kafka_partition, kafka_offset from ticks limit 0

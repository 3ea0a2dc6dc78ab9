-- How far each partition of topic $1 is in this database.
select kafka_partition, next_offset from topic_positions where topic_id = $1

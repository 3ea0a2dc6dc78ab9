-- Records of the partition below the offset are in the database.
insert into topic_positions (topic_id, kafka_partition, topic, next_offset)
values ($1, $2, $3, $4)
on conflict (topic_id, kafka_partition) do update set next_offset = excluded.next_offset

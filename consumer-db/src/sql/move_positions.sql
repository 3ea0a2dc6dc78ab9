-- Says how far partitions are in this database, in key order. Never back: another group may read what is here already. Such a
-- one locks nothing, so that a batch that changes nothing writes nothing, and its COMMIT waits for no disk.
insert into topic_positions (topic_id, kafka_partition, topic, next_offset)
select topic_id, kafka_partition, topic, next_offset
from unnest($1::uuid[], $2::int[], $3::text[], $4::bigint[]) as read (topic_id, kafka_partition, topic, next_offset)
where not exists (
    select from topic_positions as known
    where known.topic_id = read.topic_id
      and known.kafka_partition = read.kafka_partition
      and known.next_offset >= read.next_offset
)
order by topic_id, kafka_partition
on conflict (topic_id, kafka_partition) do update set next_offset = excluded.next_offset, updated_at = now()
where topic_positions.next_offset < excluded.next_offset

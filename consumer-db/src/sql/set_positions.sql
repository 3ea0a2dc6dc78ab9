-- Says where reading goes on, though what lies between is not here: it is nowhere any more, or somebody wants it so.
insert into topic_positions (topic_id, kafka_partition, topic, next_offset)
select topic_id, kafka_partition, topic, next_offset
from unnest($1::uuid[], $2::int[], $3::text[], $4::bigint[]) as read (topic_id, kafka_partition, topic, next_offset)
order by topic_id, kafka_partition
on conflict (topic_id, kafka_partition) do update set next_offset = excluded.next_offset, updated_at = now()

-- How far each of the given partitions is in this database, in their order; null where it is not known.
select known.next_offset
from unnest($1::uuid[], $2::int[]) with ordinality as asked (topic_id, kafka_partition, number)
left join topic_positions as known using (topic_id, kafka_partition)
order by number

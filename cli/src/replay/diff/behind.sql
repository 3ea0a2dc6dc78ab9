-- The partitions of the scope that consumer-db has not read to its end. $1: topic ids, $2: partitions, $3: where the scope ends.
select scope.kafka_partition, scope.ends - coalesce(known.next_offset, 0)
from unnest($1::uuid[], $2::int[], $3::bigint[]) as scope (topic_id, kafka_partition, ends)
left join topic_positions as known using (topic_id, kafka_partition)
where coalesce(known.next_offset, 0) < scope.ends
order by scope.kafka_partition

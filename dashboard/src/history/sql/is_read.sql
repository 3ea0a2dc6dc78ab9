-- Whether the records of partitions $2 up to the offsets in $3 are here, of the topic whose id begins with $1.
select coalesce(bool_and(read.last < 0 or coalesce(known.next_offset > read.last, false)), true)
from unnest($2::int[], $3::bigint[]) as read (kafka_partition, last)
left join topic_positions as known
       on known.kafka_partition = read.kafka_partition
      and starts_with(replace(known.topic_id::text, '-', ''), $1)

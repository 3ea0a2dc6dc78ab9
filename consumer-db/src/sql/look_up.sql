-- Of the given ticks, by their keys and ranks: which find their place free, and which win over what stands there, as their
-- numbers from 1. $7, $8: the times that all of them lie between.
select coalesce(array_agg(tick.number) filter (where known.is_outranked is null), '{}') as free,
       coalesce(array_agg(tick.number) filter (where known.is_outranked), '{}') as outranking
from unnest($1::timestamptz[], $2::uuid[], $3::int[], $4::timestamptz[], $5::int[], $6::bigint[])
    with ordinality as tick (event_time, event_id, revision, broker_time, kafka_partition, kafka_offset, number)
-- The limit keeps this a look-up per row: as a join it would be planned as a scan of whole partitions.
left join lateral (
    select tick.revision > ticks.revision
           or (tick.revision = ticks.revision
               and (tick.broker_time, tick.kafka_partition, tick.kafka_offset)
                 < (ticks.broker_time, ticks.kafka_partition, ticks.kafka_offset)) as is_outranked
    from ticks
    where ticks.event_time = tick.event_time and ticks.event_id = tick.event_id
      and ticks.event_time between $7 and $8
    limit 1
) as known on true

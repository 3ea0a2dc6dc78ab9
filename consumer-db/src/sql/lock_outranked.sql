-- Locks, in key order, the rows that a staged tick wins over: by a higher revision, or at equal revision because the broker
-- took it earlier. Gives them as they are. A row's rank never falls, so whoever wins over its tick now does so for ever, and
-- rows that win over ours need no lock. $1, $2: the times that all staged ticks lie between.
select known.event_time, known.event_id, known.symbol, known.source, known.kind, known.retracted
from (select * from ticks_staging order by event_time, event_id) as staged
-- The limit keeps this a look-up per row: as a join it would be planned as a scan of whole partitions.
cross join lateral (
    select ticks.event_time, ticks.event_id, ticks.symbol, ticks.source, ticks.kind, ticks.retracted
    from ticks
    where ticks.event_time = staged.event_time and ticks.event_id = staged.event_id
      and ticks.event_time between $1 and $2
      and (staged.revision > ticks.revision
           or (staged.revision = ticks.revision
               and (staged.broker_time, staged.kafka_partition, staged.kafka_offset)
                 < (ticks.broker_time, ticks.kafka_partition, ticks.kafka_offset)))
    limit 1
    for update
) as known

-- Events that are not as they were when the exchange was found: a row that is to go is another one now, or a place that is to be
-- filled is taken, or was left, or is kept no more ($1: the horizon). The limits keep each look-up one by key: as a join it would
-- be planned as a scan of whole partitions.
select before.event_id
from $generation.ticks_before as before
left join lateral (
    select ticks as live from ticks
    where ticks.event_time = before.event_time and ticks.event_id = before.event_id
    limit 1
) as now on true
where before.event_time < $1 or now.live is null or row((now.live).*) is distinct from row(before.*)
union
select after.event_id
from $generation.ticks_after as after
left join lateral (
    select ticks.event_time from ticks
    where ticks.event_time = after.event_time and ticks.event_id = after.event_id
    limit 1
) as taken on true
left join $generation.ticks_before as before
    on before.event_time = after.event_time and before.event_id = after.event_id
left join moved_ticks as left_by on left_by.event_time = after.event_time and left_by.event_id = after.event_id
where after.event_time < $1
   or (taken.event_time is not null and before.event_id is null)
   or left_by.revision > after.revision

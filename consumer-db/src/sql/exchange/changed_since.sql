-- Events that are not as a promotion left them: what it put in is another row now, or what it took has its place taken, or kept no
-- more ($1: the horizon).
select after.event_id
from $generation.ticks_after as after
left join lateral (
    select ticks as live from ticks
    where ticks.event_time = after.event_time and ticks.event_id = after.event_id
    limit 1
) as now on true
where now.live is null or row((now.live).*) is distinct from row(after.*)
union
select before.event_id
from $generation.ticks_before as before
left join lateral (
    select ticks.event_time from ticks
    where ticks.event_time = before.event_time and ticks.event_id = before.event_id
    limit 1
) as taken on true
left join $generation.ticks_after as after
    on after.event_time = before.event_time and after.event_id = before.event_id
where before.event_time < $1 or (taken.event_time is not null and after.event_id is null)

-- Which of the given places were left, and what revision may stand there.
select moved_ticks.event_time, moved_ticks.event_id, moved_ticks.revision
from unnest($1::timestamptz[], $2::uuid[]) as place (event_time, event_id)
join moved_ticks using (event_time, event_id)

insert into moved_ticks (event_time, event_id, revision)
select event_time, event_id, max(revision)
from unnest($1::timestamptz[], $2::uuid[], $3::int[]) as move (event_time, event_id, revision)
group by event_time, event_id
order by event_time, event_id
on conflict (event_time, event_id) do update set revision = excluded.revision
where excluded.revision > moved_ticks.revision

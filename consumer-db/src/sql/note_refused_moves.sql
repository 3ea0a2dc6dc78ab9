insert into refused_moves (event_time, event_id, previous_event_time, revision)
select event_time, event_id, previous_event_time, max(revision)
from unnest($1::timestamptz[], $2::uuid[], $3::timestamptz[], $4::int[])
    as refused (event_time, event_id, previous_event_time, revision)
group by event_time, event_id, previous_event_time
order by event_time, event_id, previous_event_time
on conflict (event_time, event_id, previous_event_time) do update set revision = excluded.revision
where excluded.revision > refused_moves.revision

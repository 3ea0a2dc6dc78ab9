-- Notes the places that events have left ($1, $2), and by which revision ($3). Where a refused correction was to have moved
-- an event to such a place, it has left the place before, too. $4, $5: where this batch's refused corrections were to have
-- moved events to: later revisions may have been read first. Gives the places that are noted anew.
with recursive leaving (event_time, event_id, revision, below) as (
    (
        select event_time, event_id, revision, revision
        from unnest($1::timestamptz[], $2::uuid[], $3::int[]) as move (event_time, event_id, revision)
        union
        select moved_ticks.event_time, moved_ticks.event_id, moved_ticks.revision, moved_ticks.revision
        from unnest($4::timestamptz[], $5::uuid[]) as refused (event_time, event_id)
        join moved_ticks using (event_time, event_id)
    )
    union
    select refused_moves.previous_event_time, refused_moves.event_id, leaving.revision, refused_moves.revision
    from leaving
    join refused_moves on refused_moves.event_time = leaving.event_time and refused_moves.event_id = leaving.event_id
        and refused_moves.revision < leaving.below
)
insert into moved_ticks (event_time, event_id, revision)
select event_time, event_id, max(revision)
from leaving
group by event_time, event_id
order by event_time, event_id
on conflict (event_time, event_id) do update set revision = excluded.revision
where excluded.revision > moved_ticks.revision
returning event_time, event_id

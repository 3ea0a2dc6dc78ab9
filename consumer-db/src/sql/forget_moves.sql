-- Places before the horizon need no guard: nothing can be written there. Nor does anything lead there.
with forgotten as (
    delete from refused_moves
    where greatest(event_time, previous_event_time) < (select ticks_from::timestamp at time zone 'UTC' from retention)
)
delete from moved_ticks
where event_time < (select ticks_from::timestamp at time zone 'UTC' from retention)

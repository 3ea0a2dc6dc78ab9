-- Places before the horizon need no guard: nothing can be written there.
delete from moved_ticks
where event_time < (select ticks_from::timestamp at time zone 'UTC' from retention)

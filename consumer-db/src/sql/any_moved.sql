select exists (select from moved_ticks where event_time between $1 and $2)

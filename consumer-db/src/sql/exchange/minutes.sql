-- The minutes of a series whose ticks are exchanged, from the horizon ($1) on.
select distinct symbol, source, kind, date_trunc('minute', event_time, 'UTC')
from (
    select symbol, source, kind, event_time, retracted from $generation.ticks_before
    union all
    select symbol, source, kind, event_time, retracted from $generation.ticks_after
) as exchanged
where not retracted and date_trunc('minute', event_time, 'UTC') >= $1

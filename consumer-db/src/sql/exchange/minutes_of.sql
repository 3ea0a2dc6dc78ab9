-- The minutes of a series in which the given events ($1) stand or stood.
select distinct symbol, source, kind, date_trunc('minute', event_time, 'UTC')
from (
    select event_id, symbol, source, kind, event_time from $generation.ticks_before
    union all
    select event_id, symbol, source, kind, event_time from $generation.ticks_after
) as exchanged
where event_id = any ($1::uuid[])

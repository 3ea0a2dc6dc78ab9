-- Takes events out of what is exchanged. $1: their ids.
with before as (
    delete from $generation.ticks_before where event_id = any ($1::uuid[])
)
delete from $generation.ticks_after where event_id = any ($1::uuid[])

-- Events that are to go and of which the generation has nothing.
select distinct event_id
from $generation.ticks_before
where event_id not in (select event_id from $generation.ticks)

-- The first and the last moment of the ticks, in microseconds from 1970.
select (extract(epoch from min(event_time)) * 1000000)::bigint, (extract(epoch from max(event_time)) * 1000000)::bigint
from ticks

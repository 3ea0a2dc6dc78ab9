-- From when on ticks are kept, in microseconds from 1970; null where all are.
select case when isfinite(ticks_from) then (extract(epoch from ticks_from::timestamp at time zone 'UTC') * 1000000)::bigint end
from retention

-- The beginnings of the UTC days that the generation has ticks of, in microseconds from 1970.
select distinct (extract(epoch from date_trunc('day', event_time, 'UTC')) * 1000000)::bigint from $generation.ticks

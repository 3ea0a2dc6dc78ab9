-- Symbols and sources of what is exchanged, and those of the given ones ($1, $2) that the generation has.
select symbol, source from $generation.ticks_before
union
select symbol, source from $generation.ticks_after
union
select symbol, source
from unnest($1::text[], $2::text[]) as wrong (symbol, source)
join $generation.latest_prices using (symbol, source)

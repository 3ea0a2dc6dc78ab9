-- Symbols and sources whose latest price is what a promotion made of it.
select after.symbol, after.source
from $generation.latest_after as after
join latest_prices as latest using (symbol, source)
where row(latest.*) is not distinct from row(after.*)
union
select before.symbol, before.source
from $generation.latest_before as before
left join $generation.latest_after as after using (symbol, source)
left join latest_prices as latest using (symbol, source)
where after.symbol is null and latest.symbol is null

-- Symbols and sources whose latest price shows an event of which a row was exchanged.
select symbol, source
from latest_prices
where event_id in (
    select event_id from $generation.ticks_before union all select event_id from $generation.ticks_after
)
order by symbol, source

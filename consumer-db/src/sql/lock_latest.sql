-- Locks, in key order, the latest prices that show one of the given events ($1), and those of the given symbols and sources
-- ($2, $3), which may be raised later. What to show instead of an event is asked in a later statement, which then sees all
-- that the writers before us have committed. Gives which of them show an event.
select symbol, source, event_id = any ($1::uuid[]) as is_outdated
from latest_prices
where event_id = any ($1::uuid[])
   or (symbol, source) in (select * from unnest($2::text[], $3::text[]))
order by symbol, source
for update

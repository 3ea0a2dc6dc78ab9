-- Locks the latest prices that show one of the given events, in key order. What to show instead is asked in a later
-- statement, which then sees all that the writers before us have committed.
select symbol, source
from latest_prices
where event_id = any ($1::uuid[])
order by symbol, source
for update

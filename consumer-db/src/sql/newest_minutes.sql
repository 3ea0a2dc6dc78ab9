-- The newest minute of each given symbol and source ($1, $2) and of each price basis ($3) in which there are ticks, by the
-- candles, which are up to date: one step in their key each, however far back it is. None before the horizon, $4.
select newest.symbol, newest.source, newest.price_basis, newest.bucket
from unnest($1::text[], $2::text[]) as pair (symbol, source)
cross join unnest($3::text[]) as basis (name)
cross join lateral (
    select symbol, source, price_basis, bucket
    from candles
    where candles.symbol = pair.symbol and candles.source = pair.source and candles.price_basis = basis.name
      and candles.timeframe = '1m' and candles.bucket >= $4
    order by bucket desc
    limit 1
) as newest

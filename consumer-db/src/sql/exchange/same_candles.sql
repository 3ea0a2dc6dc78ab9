-- What was made again and is what it was stays as it was, and is no part of the exchange.
with same as (
    select before.symbol, before.source, before.price_basis, before.timeframe, before.bucket, before.updated_at
    from $generation.candles_before as before
    join $generation.candles_after as after using (symbol, source, price_basis, timeframe, bucket)
    where to_jsonb(before) - 'updated_at' = to_jsonb(after) - 'updated_at'
),
as_it_was as (
    update candles set updated_at = same.updated_at
    from same
    where candles.symbol = same.symbol and candles.source = same.source and candles.price_basis = same.price_basis
      and candles.timeframe = same.timeframe and candles.bucket = same.bucket
),
before as (
    delete from $generation.candles_before as candles using same
    where candles.symbol = same.symbol and candles.source = same.source and candles.price_basis = same.price_basis
      and candles.timeframe = same.timeframe and candles.bucket = same.bucket
)
delete from $generation.candles_after as candles using same
where candles.symbol = same.symbol and candles.source = same.source and candles.price_basis = same.price_basis
  and candles.timeframe = same.timeframe and candles.bucket = same.bucket

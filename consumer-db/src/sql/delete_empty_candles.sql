delete from candles
using unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    as touched (symbol, source, price_basis, timeframe, bucket)
where candles.symbol = touched.symbol and candles.source = touched.source and candles.price_basis = touched.price_basis
  and candles.timeframe = touched.timeframe and candles.bucket = touched.bucket
  and candles.ticks = 0

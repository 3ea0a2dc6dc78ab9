-- Those of the given candles that the generation has too, each by a minute in it.
select candles.symbol, candles.source, candles.price_basis, candles.bucket
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) as wrong (symbol, source, price_basis, timeframe, bucket)
join $generation.candles as candles
    on candles.symbol = wrong.symbol and candles.source = wrong.source and candles.price_basis = wrong.price_basis
    and candles.timeframe = wrong.timeframe and candles.bucket = wrong.bucket::timestamptz

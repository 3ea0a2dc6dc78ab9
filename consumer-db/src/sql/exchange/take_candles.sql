-- So that what takes their place is judged by the gaps anew.
delete from candles
using $generation.candles_before as gone
where candles.symbol = gone.symbol and candles.source = gone.source and candles.price_basis = gone.price_basis
  and candles.timeframe = gone.timeframe and candles.bucket = gone.bucket

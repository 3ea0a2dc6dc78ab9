-- Makes the given candles of timeframe $1 again, from those of the next narrower one, $2.
update candles set
    open = made.open,
    high = made.high,
    low = made.low,
    close = made.close,
    quote_volume = made.quote_volume,
    ticks = made.ticks,
    first_event_time = made.first_event_time,
    last_event_time = made.last_event_time,
    first_event_id = made.first_event_id,
    last_event_id = made.last_event_id,
    price_sum = made.price_sum,
    quantity = made.quantity,
    negative_quantity = made.negative_quantity,
    updated_at = now()
from unnest($3::text[], $4::text[], $5::text[], $6::timestamptz[]) as touched (symbol, source, price_basis, bucket)
cross join lateral (
    select (array_agg(open order by bucket))[1] as open,
           max(high) as high,
           min(low) as low,
           (array_agg(close order by bucket desc))[1] as close,
           sum(quote_volume) as quote_volume,
           sum(ticks) as ticks,
           min(first_event_time) as first_event_time,
           max(last_event_time) as last_event_time,
           (array_agg(first_event_id order by bucket))[1] as first_event_id,
           (array_agg(last_event_id order by bucket desc))[1] as last_event_id,
           sum(price_sum) as price_sum,
           sum(quantity) as quantity,
           sum(negative_quantity) as negative_quantity
    from candles as narrower
    where narrower.symbol = touched.symbol and narrower.source = touched.source
      and narrower.price_basis = touched.price_basis and narrower.timeframe = $2
      and narrower.bucket >= touched.bucket and narrower.bucket < touched.bucket + candle_width($1)
      and narrower.ticks > 0
) as made
where made.ticks > 0
  and candles.symbol = touched.symbol and candles.source = touched.source
  and candles.price_basis = touched.price_basis and candles.timeframe = $1 and candles.bucket = touched.bucket

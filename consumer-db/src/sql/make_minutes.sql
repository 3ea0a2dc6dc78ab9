-- Makes the given candles of 1m again, from ticks; $5 and $6 are the first and the last of them. One whose ticks are all gone
-- stays empty.
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
from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) as touched (symbol, source, price_basis, bucket)
cross join lateral (
    select (array_agg(price order by event_time, event_id))[1] as open,
           max(price) as high,
           min(price) as low,
           (array_agg(price order by event_time desc, event_id desc))[1] as close,
           sum(price * quantity) as quote_volume,
           count(*) as ticks,
           min(event_time) as first_event_time,
           max(event_time) as last_event_time,
           (array_agg(event_id order by event_time, event_id))[1] as first_event_id,
           (array_agg(event_id order by event_time desc, event_id desc))[1] as last_event_id,
           sum(price) as price_sum,
           sum(quantity) as quantity,
           sum(quantity) filter (where quantity < 0) as negative_quantity
    from ticks
    where ticks.symbol = touched.symbol and ticks.source = touched.source and ticks.kind = touched.price_basis
      and not ticks.retracted
      and ticks.event_time >= touched.bucket and ticks.event_time < touched.bucket + interval '1 minute'
      and ticks.event_time >= $5 and ticks.event_time < $6::timestamptz + interval '1 minute'
) as made
where made.ticks > 0
  and candles.symbol = touched.symbol and candles.source = touched.source
  and candles.price_basis = touched.price_basis and candles.timeframe = '1m' and candles.bucket = touched.bucket

-- Candles of 5m, 1h and 1d in [$1, $2) that are not what the next narrower ones come to.
with bounds as (
    select greatest($1::text::timestamptz, (select ticks_from::timestamp at time zone 'UTC' from retention)) as since,
           $2::text::timestamptz as until
),
made as (
    select symbol, source, price_basis, wider.timeframe,
           date_bin(candle_width(wider.timeframe), bucket, timestamptz '1970-01-01 00:00:00+00') as bucket,
           (array_agg(open order by bucket))[1] as open, max(high) as high, min(low) as low,
           (array_agg(close order by bucket desc))[1] as close, sum(quote_volume) as quote_volume, sum(ticks) as ticks,
           min(first_event_time) as first_event_time, max(last_event_time) as last_event_time,
           (array_agg(first_event_id order by bucket))[1] as first_event_id,
           (array_agg(last_event_id order by bucket desc))[1] as last_event_id,
           sum(price_sum) as price_sum, sum(quantity) as quantity, sum(negative_quantity) as negative_quantity
    from candles
    join (values ('1m', '5m'), ('5m', '1h'), ('1h', '1d')) as wider (narrower, timeframe) on wider.narrower = candles.timeframe
    where bucket >= (select since from bounds) and bucket < (select until from bounds)
    group by 1, 2, 3, 4, 5
),
held as (
    select *
    from candles
    where timeframe <> '1m' and bucket >= (select since from bounds) and bucket < (select until from bounds)
),
wrong as (
    select coalesce(held.symbol, made.symbol) as symbol, coalesce(held.source, made.source) as source,
           coalesce(held.price_basis, made.price_basis) as price_basis,
           coalesce(held.timeframe, made.timeframe) as timeframe, coalesce(held.bucket, made.bucket) as bucket,
           case
               when held.ticks is null then 'is missing'
               when made.ticks is null then 'has no narrower candles'
               when held.ticks <> made.ticks then format('counts %s ticks, its narrower candles %s', held.ticks, made.ticks)
               when (held.open, held.high, held.low, held.close, held.first_event_time, held.last_event_time,
                     held.first_event_id, held.last_event_id, held.price_sum)
                   <> (made.open, made.high, made.low, made.close, made.first_event_time, made.last_event_time,
                       made.first_event_id, made.last_event_id, made.price_sum)
                   or held.quantity is distinct from made.quantity
                   or held.quote_volume is distinct from made.quote_volume
                   or held.negative_quantity is distinct from made.negative_quantity
                   then 'is not what its narrower candles come to'
           end as what
    from held
    full join made using (symbol, source, price_basis, timeframe, bucket)
)
select symbol, source, price_basis, timeframe, to_char(bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as bucket,
       what, count(*) over () as of_all
from wrong
where what is not null
  -- Only buckets that lie in the span as a whole.
  and bucket >= (select since from bounds) and bucket + candle_width(timeframe) <= (select until from bounds)
order by bucket, timeframe, symbol, source, price_basis
limit $3

-- Says of each candle in the given times of the given sources (*: of all) whether it is complete, after a change of gaps.
-- The writer is alone. $4: candles before it are frozen.
with recursive series as (
    -- Each (symbol, source, price basis, timeframe) once, by one step in the index each.
    (
        select symbol, source, price_basis, timeframe
        from candles
        order by symbol, source, price_basis, timeframe
        limit 1
    )
    union all
    select next.symbol, next.source, next.price_basis, next.timeframe
    from series
    cross join lateral (
        select symbol, source, price_basis, timeframe
        from candles
        where (candles.symbol, candles.source, candles.price_basis, candles.timeframe)
            > (series.symbol, series.source, series.price_basis, series.timeframe)
        order by symbol, source, price_basis, timeframe
        limit 1
    ) as next
),
touched as (
    select candles.symbol, candles.source, candles.price_basis, candles.timeframe, candles.bucket, candles.complete,
           candle_is_complete(
               candles.symbol, candles.source, candles.bucket, candles.bucket + candle_width(candles.timeframe)
           ) as judged
    from (
        select distinct series.*, told.started_at, coalesce(told.ended_at, 'infinity') as ended_at
        from series
        join unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) as told (source, started_at, ended_at)
          on told.source in (series.source, '*')
    ) as span
    join candles
      on candles.symbol = span.symbol and candles.source = span.source and candles.price_basis = span.price_basis
     and candles.timeframe = span.timeframe
     and candles.bucket > span.started_at - interval '24 hours'
     and candles.bucket < span.ended_at
     and candles.bucket + candle_width(candles.timeframe) > span.started_at
    where candles.bucket >= $4
)
update candles set complete = touched.judged, updated_at = now()
from touched
where touched.judged <> touched.complete
  and candles.symbol = touched.symbol and candles.source = touched.source and candles.price_basis = touched.price_basis
  and candles.timeframe = touched.timeframe and candles.bucket = touched.bucket

-- Says of each candle that one of the given gaps, as they were and as they are, may concern whether it is complete.
-- The writer is alone. $2: candles before it are frozen.
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
spans as (
    select distinct series.*, told.started_at - candle_width(series.timeframe) as after, told.ended_at as before
    from series
    join unnest($1::text[]) as gap (fields) on true
    cross join lateral jsonb_to_record(gap.fields::jsonb) as told (
        source text, symbols text[], started_at timestamptz, ended_at timestamptz
    )
    where gap_concerns(told.source, told.symbols, series.symbol, series.source, series.price_basis)
),
touched as materialized (
    select candle.*,
           -- A gap that only touches an edge of the bucket does not overlap it.
           not exists (
               select from gaps
               where gaps.span && tstzrange(candle.bucket, candle.bucket + candle_width(candle.timeframe))
                 and gap_concerns(gaps.source, gaps.symbols, candle.symbol, candle.source, candle.price_basis)
                 and gaps.started_at < candle.bucket + candle_width(candle.timeframe)
                 and coalesce(gaps.ended_at, 'infinity') > candle.bucket
           ) as judged
    from spans
    -- The offset keeps this a look-up per span: as a join it would be planned as a scan of the whole table.
    cross join lateral (
        select symbol, source, price_basis, timeframe, bucket, complete
        from candles
        where candles.symbol = spans.symbol and candles.source = spans.source
          and candles.price_basis = spans.price_basis and candles.timeframe = spans.timeframe
          and candles.bucket > spans.after and candles.bucket < coalesce(spans.before, 'infinity')
          and candles.bucket >= $2
        offset 0
    ) as candle
)
update candles set complete = touched.judged, updated_at = now()
from touched
where touched.judged <> touched.complete
  and candles.symbol = touched.symbol and candles.source = touched.source and candles.price_basis = touched.price_basis
  and candles.timeframe = touched.timeframe and candles.bucket = touched.bucket

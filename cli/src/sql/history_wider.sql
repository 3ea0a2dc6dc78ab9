-- As history.sql, in buckets of $7 minutes made of the candles of timeframe $2, which divides them. Sums are exact, so
-- nothing but vwap, a share of two sums, is a float. A gap may lie where no tick and so no candle is: whether a bucket is
-- complete is asked of the gaps, and of the candles too, whose gaps may be forgotten.
with recursive series as (
    (select source, price_basis from candles where symbol = $1 order by source, price_basis limit 1)
    union all
    select next.source, next.price_basis
    from series
    cross join lateral (
        select source, price_basis from candles
        where symbol = $1 and (source, price_basis) > (series.source, series.price_basis)
        order by source, price_basis
        limit 1
    ) as next
),
wider as (
    select series.source, candles.symbol, series.price_basis,
           date_bin(make_interval(mins => $7), candles.bucket, '1970-01-01 00:00:00+00') as start,
           (array_agg(open order by candles.bucket))[1] as open,
           max(high) as high,
           min(low) as low,
           (array_agg(close order by candles.bucket desc))[1] as close,
           case when sum(quantity) - 2 * coalesce(sum(negative_quantity), 0) < 9e19 then sum(quantity) end as volume,
           sum(quote_volume) as quote_volume,
           sum(ticks)::bigint as ticks,
           bool_and(complete) as complete
    from series
    join candles on candles.symbol = $1 and candles.source = series.source and candles.price_basis = series.price_basis
        and candles.timeframe = $2 and candles.bucket >= $3::text::timestamptz and candles.bucket < $4::text::timestamptz
    where ($5::text[] is null or series.source = any ($5))
      and ($6::text[] is null or series.price_basis = any ($6))
    group by series.source, candles.symbol, series.price_basis, start
)
select to_char(start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as bucket,
       source, symbol, price_basis,
       trim_scale(open)::text as open,
       trim_scale(high)::text as high,
       trim_scale(low)::text as low,
       trim_scale(close)::text as close,
       trim_scale(volume)::text as volume,
       case when volume > 0 then quote_volume::double precision / volume::double precision end as vwap,
       ticks,
       -- A gap that only touches an edge of the bucket does not overlap it.
       complete and not exists (
           select from gaps
           where gaps.span && tstzrange(start, start + make_interval(mins => $7))
             and gap_concerns(gaps.source, gaps.symbols, wider.symbol, wider.source, wider.price_basis)
             and gaps.started_at < start + make_interval(mins => $7)
             and coalesce(gaps.ended_at, 'infinity') > start
       ) as complete
from wider
order by start, source, price_basis

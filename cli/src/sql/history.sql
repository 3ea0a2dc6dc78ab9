-- The candles of symbol $1 in timeframe $2 that begin in [$3, $4); of the sources in $5 and the price bases in $6, of all where
-- that is null. Each source and basis of the symbol is found first, so that each is one range of the key.
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
)
select to_char(bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as bucket,
       series.source, candles.symbol, series.price_basis,
       trim_scale(open)::text as open,
       trim_scale(high)::text as high,
       trim_scale(low)::text as low,
       trim_scale(close)::text as close,
       trim_scale(volume)::text as volume,
       vwap, ticks, complete
from series
join candles on candles.symbol = $1 and candles.source = series.source and candles.price_basis = series.price_basis
    and candles.timeframe = $2 and candles.bucket >= $3::text::timestamptz and candles.bucket < $4::text::timestamptz
where ($5::text[] is null or series.source = any ($5))
  and ($6::text[] is null or series.price_basis = any ($6))
order by candles.bucket, series.source, series.price_basis

-- The newest $7 candles of each source and price basis of symbol $1 in timeframe $2 that begin in [$3, $4) (microseconds from 1970);
-- of source $5 and price basis $6, of all where that is null. Each series is found first, so that each is one range of the key.
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
select series.source, series.price_basis,
       (extract(epoch from newest.bucket) * 1000000)::bigint as start_us,
       trim_scale(newest.open)::text as open,
       trim_scale(newest.high)::text as high,
       trim_scale(newest.low)::text as low,
       trim_scale(newest.close)::text as close,
       trim_scale(newest.volume)::text as volume,
       trim_scale(round(newest.quote_volume / nullif(greatest(newest.volume, 0), 0), 18))::text as vwap,
       newest.ticks, newest.complete
from series
cross join lateral (
    select bucket, open, high, low, close, volume, quote_volume, ticks, complete from candles
    where candles.symbol = $1 and candles.source = series.source and candles.price_basis = series.price_basis
      and candles.timeframe = $2
      and candles.bucket >= timestamptz '1970-01-01 00:00:00+00' + $3::bigint * interval '1 microsecond'
      and candles.bucket < timestamptz '1970-01-01 00:00:00+00' + $4::bigint * interval '1 microsecond'
    order by bucket desc
    limit $7
) as newest
where ($5::text is null or series.source = $5)
  and ($6::text is null or series.price_basis = $6)
order by newest.bucket, series.source, series.price_basis

-- Of the ticks of symbol $1 in [$3, $4) (microseconds from 1970), of each source and price basis; of source $2, of all where that
-- is null. The deviation is that of the minutes' closing prices.
with counted as (
    select source, kind as price_basis,
           trim_scale(round(avg(price), 18))::text as avg,
           trim_scale(min(price))::text as min,
           trim_scale(max(price))::text as max,
           count(*) as count,
           (extract(epoch from min(event_time)) * 1000000)::bigint as first_us,
           (extract(epoch from max(event_time)) * 1000000)::bigint as last_us
    from ticks
    where symbol = $1 and not retracted
      and ($2::text is null or source = $2)
      and event_time >= timestamptz '1970-01-01 00:00:00+00' + $3::bigint * interval '1 microsecond'
      and event_time < timestamptz '1970-01-01 00:00:00+00' + $4::bigint * interval '1 microsecond'
    group by source, kind
)
select counted.*, coalesce(minutes.stddev, 0) as stddev
from counted
cross join lateral (
    select stddev_pop(close)::double precision as stddev
    from candles
    where candles.symbol = $1 and candles.source = counted.source and candles.price_basis = counted.price_basis
      and timeframe = '1m'
      and bucket >= timestamptz '1970-01-01 00:00:00+00' + $3::bigint * interval '1 microsecond'
      and bucket < timestamptz '1970-01-01 00:00:00+00' + $4::bigint * interval '1 microsecond'
) as minutes
order by source, price_basis

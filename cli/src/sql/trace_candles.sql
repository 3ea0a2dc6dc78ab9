-- The candles that a tick of symbol $1, source $2, basis $3 at $4 (microseconds from 1970) counts in.
select timeframe, to_char(bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as bucket, trim_scale(open)::text as open,
       trim_scale(high)::text as high, trim_scale(low)::text as low, trim_scale(close)::text as close, ticks, complete,
       (extract(epoch from updated_at) * 1000000)::bigint as updated_us
from candles
where symbol = $1 and source = $2 and price_basis = $3
  and bucket = date_bin(
      candle_width(timeframe), timestamptz 'epoch' + $4 * interval '1 microsecond', timestamptz '1970-01-01 00:00:00+00'
  )
order by candle_width(timeframe)

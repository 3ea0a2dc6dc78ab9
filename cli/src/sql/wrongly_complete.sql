-- Candles in [$1, $2) that claim to be complete though a gap that concerns them overlaps their bucket.
select symbol, source, price_basis, timeframe, to_char(bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as bucket,
       'claims to be complete, and a gap overlaps it' as what, count(*) over () as of_all
from candles
where complete
  and bucket >= greatest($1::text::timestamptz, (select ticks_from::timestamp at time zone 'UTC' from retention))
  and bucket < $2::text::timestamptz
  and exists (
      select from gaps
      where gaps.span && tstzrange(candles.bucket, candles.bucket + candle_width(candles.timeframe))
        and gap_concerns(gaps.source, gaps.symbols, candles.symbol, candles.source, candles.price_basis)
        and gaps.started_at < candles.bucket + candle_width(candles.timeframe)
        and coalesce(gaps.ended_at, 'infinity') > candles.bucket
  )
order by bucket, timeframe, symbol, source, price_basis
limit $3

-- Locks the candles that are to be made again, in key order, and empties them; one that is not here is put here, empty, so
-- that it can be locked. What they hold is asked in later statements, which see all that the writers before us have
-- committed.
insert into candles (
    symbol, source, price_basis, timeframe, bucket, open, high, low, close, ticks, first_event_time, last_event_time,
    complete, first_event_id, last_event_id, price_sum
)
select symbol, source, price_basis, timeframe, bucket, 0, 0, 0, 0, 0, bucket, bucket,
       not exists (
           select from gaps
           where gaps.span && tstzrange(touched.bucket, touched.bucket + candle_width(touched.timeframe))
             and gap_concerns(gaps.source, gaps.symbols, touched.symbol, touched.source, touched.price_basis)
             and gaps.started_at < touched.bucket + candle_width(touched.timeframe)
             and coalesce(gaps.ended_at, 'infinity') > touched.bucket
       ),
       '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000', 0
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    as touched (symbol, source, price_basis, timeframe, bucket)
order by symbol, source, price_basis, timeframe, bucket
on conflict (symbol, source, price_basis, timeframe, bucket) do update set ticks = 0

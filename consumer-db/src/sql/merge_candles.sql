-- Merges candles of ticks that are new into those that are here, in key order. An existing candle's row stays locked until
-- the commit, so whoever merges or makes the same candle waits, and then sees it. Whether a new one is complete is asked of
-- the gaps; of an existing one it is so already.
with made as (
    select *
    from unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[],
        $8::numeric[], $9::numeric[], $10::numeric[], $11::numeric[], $12::numeric[], $13::bigint[], $14::timestamptz[],
        $15::timestamptz[], $16::uuid[], $17::uuid[], $18::numeric[], $19::numeric[], $20::numeric[]
    ) as candle (
        symbol, source, price_basis, timeframe, bucket, bucket_end, day, open, high, low, close, quote_volume, ticks,
        first_event_time, last_event_time, first_event_id, last_event_id, price_sum, quantity, negative_quantity
    )
),
-- Few, as a rule none: they are looked up once a day of the batch, and held against each series once, not each candle.
told as materialized (
    select days.day, gaps.source, gaps.symbols, gaps.started_at, coalesce(gaps.ended_at, 'infinity') as ended_at
    from (select distinct day from made) as days
    join gaps on gaps.span && tstzrange(days.day, days.day + interval '24 hours')
),
near as materialized (
    select series.symbol, series.source, series.price_basis, series.day, told.started_at, told.ended_at
    from (select distinct symbol, source, price_basis, day from made) as series
    join told on told.day = series.day
        and gap_concerns(told.source, told.symbols, series.symbol, series.source, series.price_basis)
)
insert into candles (
    symbol, source, price_basis, timeframe, bucket, open, high, low, close, quote_volume, ticks, first_event_time,
    last_event_time, complete, first_event_id, last_event_id, price_sum, quantity, negative_quantity
)
select symbol, source, price_basis, timeframe, bucket, open, high, low, close, quote_volume, ticks, first_event_time,
       last_event_time,
       not exists (
           select from near
           where near.symbol = made.symbol and near.source = made.source and near.price_basis = made.price_basis
             and near.day = made.day
             and near.started_at < made.bucket_end
             and near.ended_at > made.bucket
       ),
       first_event_id, last_event_id, price_sum, quantity, negative_quantity
from made
order by symbol, source, price_basis, timeframe, bucket
on conflict (symbol, source, price_basis, timeframe, bucket) do update set
    open = case
        when (excluded.first_event_time, excluded.first_event_id) < (candles.first_event_time, candles.first_event_id)
        then excluded.open else candles.open end,
    first_event_id = case
        when (excluded.first_event_time, excluded.first_event_id) < (candles.first_event_time, candles.first_event_id)
        then excluded.first_event_id else candles.first_event_id end,
    first_event_time = least(excluded.first_event_time, candles.first_event_time),
    close = case
        when (excluded.last_event_time, excluded.last_event_id) > (candles.last_event_time, candles.last_event_id)
        then excluded.close else candles.close end,
    last_event_id = case
        when (excluded.last_event_time, excluded.last_event_id) > (candles.last_event_time, candles.last_event_id)
        then excluded.last_event_id else candles.last_event_id end,
    last_event_time = greatest(excluded.last_event_time, candles.last_event_time),
    high = greatest(excluded.high, candles.high),
    low = least(excluded.low, candles.low),
    ticks = candles.ticks + excluded.ticks,
    price_sum = candles.price_sum + excluded.price_sum,
    -- One null is no sum yet.
    quantity = coalesce(candles.quantity + excluded.quantity, candles.quantity, excluded.quantity),
    quote_volume = coalesce(candles.quote_volume + excluded.quote_volume, candles.quote_volume, excluded.quote_volume),
    negative_quantity = coalesce(
        candles.negative_quantity + excluded.negative_quantity, candles.negative_quantity, excluded.negative_quantity
    ),
    updated_at = excluded.updated_at

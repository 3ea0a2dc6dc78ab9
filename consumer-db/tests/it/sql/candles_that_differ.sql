-- Candles that are not what ticks and gaps say, told another way than the service tells it: over all ticks at once, by
-- windows and plain arithmetic.
with timeframes (timeframe, seconds) as (
    values ('1m', 60), ('5m', 300), ('1h', 3600), ('1d', 86400)
),
placed as (
    select ticks.symbol, ticks.source, ticks.kind, timeframe, seconds, bucket, price, quantity, event_time,
           row_number() over (
               partition by symbol, source, kind, timeframe, bucket order by event_time, event_id
           ) as from_first,
           row_number() over (
               partition by symbol, source, kind, timeframe, bucket order by event_time desc, event_id desc
           ) as from_last
    from ticks
    cross join timeframes
    cross join lateral (
        select to_timestamp(floor(extract(epoch from event_time) / seconds) * seconds) as bucket
    ) as start
    where not retracted
),
expected as (
    select symbol, source, kind as price_basis, timeframe, bucket,
           min(price) filter (where from_first = 1) as open,
           max(price) as high,
           min(price) as low,
           min(price) filter (where from_last = 1) as close,
           case when sum(abs(quantity)) < 90000000000000000000 then sum(quantity) end as volume,
           sum(quantity * price) as quote_volume,
           sum(price) as price_sum,
           count(*) as ticks,
           min(event_time) as first_event_time,
           max(event_time) as last_event_time,
           not exists (
               select from gaps
               where (gaps.source = placed.source or gaps.source = '*' or placed.kind = 'FX_IMPLIED')
                 and (cardinality(gaps.symbols) = 0 or gaps.symbols @> array[placed.symbol]
                      or placed.kind = 'FX_IMPLIED'
                      and gaps.symbols && array[
                          regexp_replace(placed.symbol, '-.*', '-USD'), regexp_replace(placed.symbol, '.*-', 'USD-')
                      ])
                 and extract(epoch from gaps.started_at) < extract(epoch from placed.bucket) + placed.seconds
                 and (gaps.ended_at is null or gaps.ended_at > placed.bucket)
           ) as complete
    from placed
    group by symbol, source, kind, timeframe, seconds, bucket
),
found as (
    select symbol, source, price_basis, timeframe, bucket, open, high, low, close, volume, quote_volume, price_sum, ticks,
           first_event_time, last_event_time, complete
    from candles
),
far_off as (
    select candles.*
    from candles
    where abs(average - price_sum / ticks) > 1e-9 * abs(price_sum / ticks)
       or (vwap is null) <> (volume is null or volume <= 0)
       or abs(vwap - quote_volume / nullif(volume, 0)) > 1e-9 * abs(quote_volume / nullif(volume, 0))
)
select 'expected ' || missing from (select * from expected except all select * from found) as missing
union all
select 'found ' || extra from (select * from found except all select * from expected) as extra
union all
select 'far off ' || far_off from far_off

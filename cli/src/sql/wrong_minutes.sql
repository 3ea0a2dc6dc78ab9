-- Candles of 1m that are not what the ticks in [$1, $2) come to: those that differ, those without ticks, those that are not
-- there. One statement sees one moment, and whoever writes ticks writes their candles in the same transaction.
with bounds as (
    select greatest($1::text::timestamptz, (select ticks_from::timestamp at time zone 'UTC' from retention)) as since,
           $2::text::timestamptz as until
),
made as (
    select symbol, source, kind as price_basis,
           date_bin(interval '1 minute', event_time, timestamptz '1970-01-01 00:00:00+00') as bucket,
           count(*) as ticks, max(price) as high, min(price) as low, sum(price) as price_sum, sum(quantity) as quantity,
           sum(price * quantity) as quote_volume, sum(quantity) filter (where quantity < 0) as negative_quantity,
           min(event_time) as first_event_time, max(event_time) as last_event_time
    from ticks
    where not retracted and event_time >= (select since from bounds) and event_time < (select until from bounds)
    group by 1, 2, 3, 4
),
held as (
    select *
    from candles
    where timeframe = '1m' and bucket >= (select since from bounds) and bucket < (select until from bounds)
),
wrong as (
    select coalesce(held.symbol, made.symbol) as symbol, coalesce(held.source, made.source) as source,
           coalesce(held.price_basis, made.price_basis) as price_basis, coalesce(held.bucket, made.bucket) as bucket,
           case
               when held.ticks is null then 'is missing'
               when made.ticks is null then 'has no ticks'
               when held.ticks <> made.ticks then format('counts %s ticks, there are %s', held.ticks, made.ticks)
               when held.high <> made.high or held.low <> made.low then 'has another high or low than its ticks'
               when held.price_sum <> made.price_sum or held.quantity is distinct from made.quantity
                   or held.quote_volume is distinct from made.quote_volume
                   or held.negative_quantity is distinct from made.negative_quantity
                   then 'has other sums than its ticks'
               when held.first_event_time <> made.first_event_time or held.last_event_time <> made.last_event_time
                   then 'begins or ends at another time than its ticks'
               when not exists (
                   select from ticks
                   where event_time = held.first_event_time and event_id = held.first_event_id and price = held.open
               ) or exists (
                   select from ticks
                   where event_time = held.first_event_time and event_id < held.first_event_id and symbol = held.symbol
                     and source = held.source and kind = held.price_basis and not retracted
               ) then 'does not open at the price of its first tick'
               when not exists (
                   select from ticks
                   where event_time = held.last_event_time and event_id = held.last_event_id and price = held.close
               ) or exists (
                   select from ticks
                   where event_time = held.last_event_time and event_id > held.last_event_id and symbol = held.symbol
                     and source = held.source and kind = held.price_basis and not retracted
               ) then 'does not close at the price of its last tick'
           end as what
    from held
    full join made using (symbol, source, price_basis, bucket)
)
select symbol, source, price_basis, '1m' as timeframe, to_char(bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as bucket,
       what, count(*) over () as of_all
from wrong
where what is not null
order by bucket, symbol, source, price_basis
limit $3

-- As candles.sql ($2 and $3: from and to, $4 and $5: source and price basis, $6: how many), in buckets of one second, of which none
-- are kept: from the ticks, as consumer-db makes a minute from them.
with seconds as (
    select source, kind, date_trunc('second', event_time) as bucket,
           (array_agg(price order by event_time, event_id))[1] as open,
           max(price) as high,
           min(price) as low,
           (array_agg(price order by event_time desc, event_id desc))[1] as close,
           sum(quantity) as quantity,
           sum(quantity) filter (where quantity < 0) as negative_quantity,
           sum(price * quantity) as quote_volume,
           count(*) as ticks
    from ticks
    where symbol = $1 and not retracted
      and event_time >= timestamptz '1970-01-01 00:00:00+00' + $2::bigint * interval '1 microsecond'
      and event_time < timestamptz '1970-01-01 00:00:00+00' + $3::bigint * interval '1 microsecond'
      and ($4::text is null or source = $4)
      and ($5::text is null or kind = $5)
    group by source, kind, bucket
),
numbered as (
    select *, row_number() over (partition by source, kind order by bucket desc) as place,
           quantity - 2 * coalesce(negative_quantity, 0) < 9e19 as is_told
    from seconds
)
select source, kind as price_basis,
       (extract(epoch from bucket) * 1000000)::bigint as start_us,
       trim_scale(open)::text as open,
       trim_scale(high)::text as high,
       trim_scale(low)::text as low,
       trim_scale(close)::text as close,
       case when is_told then trim_scale(quantity)::text end as volume,
       case when is_told and quantity > 0 then trim_scale(round(quote_volume / quantity, 18))::text end as vwap,
       ticks,
       not exists (
           select from gaps
           where gaps.span && tstzrange(bucket, bucket + interval '1 second')
             and gap_concerns(gaps.source, gaps.symbols, $1, numbered.source, kind)
             and gaps.started_at < bucket + interval '1 second'
             and coalesce(gaps.ended_at, 'infinity') > bucket
       ) as complete
from numbered
where place <= $6
order by bucket, source, price_basis

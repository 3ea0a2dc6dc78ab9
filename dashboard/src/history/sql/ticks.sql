-- The newest $4 ticks of symbol $1 before $3 (microseconds from 1970), of source $2, of all where that is null.
select event_id, revision, source, kind,
       trim_scale(price)::text as price,
       trim_scale(quantity)::text as quantity,
       trim_scale(bid)::text as bid,
       trim_scale(ask)::text as ask,
       trim_scale(volume_24h)::text as volume_24h,
       trim_scale(quote_volume_24h)::text as quote_volume_24h,
       trim_scale(market_cap)::text as market_cap,
       trim_scale(change_24h_pct)::text as change_24h_pct,
       (extract(epoch from event_time) * 1000000)::bigint as event_time_us,
       event_time_origin,
       (extract(epoch from received_at) * 1000000)::bigint as received_at_us,
       (extract(epoch from broker_time) * 1000000)::bigint as broker_time_us,
       kafka_partition as partition, kafka_offset as "offset"
from ticks
where symbol = $1 and not retracted
  and ($2::text is null or source = $2)
  and event_time < timestamptz '1970-01-01 00:00:00+00' + $3::bigint * interval '1 microsecond'
order by event_time desc, event_id desc
limit $4

-- Shows the newest tick of each symbol and source, which is in one of the given minutes, all of them from $5 to $6.
-- Each is told to whoever listens.
with shown as (
    insert into latest_prices (
        symbol, source, base, quote, kind, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct,
        event_time, received_at, sequence, event_id, revision
    )
    select distinct on (newest.symbol, newest.source) newest.*
    from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) as minute (symbol, source, price_basis, bucket)
    cross join lateral (
        select symbol, source, base, quote, kind, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap,
               change_24h_pct, event_time, received_at, sequence, event_id, revision
        from ticks
        where ticks.symbol = minute.symbol and ticks.source = minute.source and ticks.kind = minute.price_basis
          and not ticks.retracted
          and ticks.event_time >= minute.bucket and ticks.event_time < minute.bucket + interval '1 minute'
          and ticks.event_time >= $5 and ticks.event_time < $6::timestamptz + interval '1 minute'
        order by event_time desc, sequence desc nulls last, event_id desc
        limit 1
    ) as newest
    order by newest.symbol, newest.source, newest.event_time desc, newest.sequence desc nulls last, newest.event_id desc
    returning symbol, source, price, event_time
)
select notify_latest_price(shown.symbol, shown.source, shown.price, shown.event_time)
from shown
-- Asked once a batch. The queue is the whole server's; when it is full, every transaction that notifies fails.
where (select pg_notification_queue_usage()) < 0.5

-- Shows the newest tick of each given symbol and source that has one.
-- Each is told to whoever listens.
with shown as (
    insert into latest_prices (
        symbol, source, base, quote, kind, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct,
        event_time, received_at, sequence, event_id, revision
    )
    select newest.*
    from unnest($1::text[], $2::text[]) as pair (symbol, source)
    cross join lateral (
        select symbol, source, base, quote, kind, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap,
               change_24h_pct, event_time, received_at, sequence, event_id, revision
        from ticks
        where ticks.symbol = pair.symbol and ticks.source = pair.source and not ticks.retracted
        order by event_time desc, sequence desc nulls last, event_id desc
        limit 1
    ) as newest
    order by newest.symbol, newest.source
    returning symbol, source, price, event_time
)
select notify_latest_price(shown.symbol, shown.source, shown.price, shown.event_time)
from shown
-- Asked once a batch. The queue is the whole server's; when it is full, every transaction that notifies fails.
where (select pg_notification_queue_usage()) < 0.5

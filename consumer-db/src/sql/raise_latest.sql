-- Shows the ticks at the given places where they are newer than what is shown. In key order, as ticks are.
-- Each is told to whoever listens.
with raised as (
    insert into latest_prices (
        symbol, source, base, quote, kind, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct,
        event_time, received_at, sequence, event_id, revision
    )
    select distinct on (symbol, source)
           symbol, source, base, quote, kind, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct,
           event_time, received_at, sequence, event_id, revision
    from unnest($1::timestamptz[], $2::uuid[]) as place (event_time, event_id)
    join ticks using (event_time, event_id)
    where not retracted
    order by symbol, source, event_time desc, sequence desc nulls last, event_id desc
    on conflict (symbol, source) do update set
        base = excluded.base,
        quote = excluded.quote,
        kind = excluded.kind,
        price = excluded.price,
        quantity = excluded.quantity,
        bid = excluded.bid,
        ask = excluded.ask,
        volume_24h = excluded.volume_24h,
        quote_volume_24h = excluded.quote_volume_24h,
        market_cap = excluded.market_cap,
        change_24h_pct = excluded.change_24h_pct,
        event_time = excluded.event_time,
        received_at = excluded.received_at,
        sequence = excluded.sequence,
        event_id = excluded.event_id,
        revision = excluded.revision,
        updated_at = excluded.updated_at
    where (excluded.event_time, coalesce(excluded.sequence, -9223372036854775808), excluded.event_id, excluded.revision)
        > (latest_prices.event_time, coalesce(latest_prices.sequence, -9223372036854775808), latest_prices.event_id, latest_prices.revision)
    returning symbol, source, price, event_time
)
select notify_latest_price(raised.symbol, raised.source, raised.price, raised.event_time)
from raised
-- Asked once a batch. The queue is the whole server's; when it is full, every transaction that notifies fails.
where (select pg_notification_queue_usage()) < 0.5

-- Shows the ticks at the given places, all of them between $3 and $4, where they are newer than what is shown. In key order,
-- as ticks are. Each is told to whoever listens.
with raised as (
    insert into latest_prices (
        symbol, source, base, quote, kind, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct,
        event_time, received_at, sequence, event_id, revision
    )
    select distinct on (symbol, source)
           symbol, source, base, quote, kind, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct,
           tick.event_time, received_at, sequence, tick.event_id, revision
    from unnest($1::timestamptz[], $2::uuid[]) as place (event_time, event_id)
    -- The limit keeps this a look-up per place: as a join it would be planned as a scan of whole partitions.
    cross join lateral (
        select ticks.*
        from ticks
        where ticks.event_time = place.event_time and ticks.event_id = place.event_id
          and ticks.event_time between $3 and $4
          and not ticks.retracted
        limit 1
    ) as tick
    order by symbol, source, tick.event_time desc, sequence desc nulls last, tick.event_id desc
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

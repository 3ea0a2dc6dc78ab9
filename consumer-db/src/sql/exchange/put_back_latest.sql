-- The latest prices of the given symbols and sources ($1, $2) are again what they were, and are told to whoever listens.
with same as (
    select * from unnest($1::text[], $2::text[]) as pair (symbol, source)
),
gone as (
    delete from latest_prices
    using same
    where latest_prices.symbol = same.symbol and latest_prices.source = same.source
      and not exists (
          select from $generation.latest_before as before
          where before.symbol = same.symbol and before.source = same.source
      )
),
back as (
    insert into latest_prices
    select before.* from $generation.latest_before as before join same using (symbol, source)
    on conflict (symbol, source) do update set
        base = excluded.base, quote = excluded.quote, kind = excluded.kind, price = excluded.price,
        quantity = excluded.quantity, bid = excluded.bid, ask = excluded.ask, volume_24h = excluded.volume_24h,
        quote_volume_24h = excluded.quote_volume_24h, market_cap = excluded.market_cap,
        change_24h_pct = excluded.change_24h_pct, event_time = excluded.event_time, received_at = excluded.received_at,
        sequence = excluded.sequence, event_id = excluded.event_id, revision = excluded.revision,
        updated_at = excluded.updated_at
    returning symbol, source, price, event_time
)
select notify_latest_price(back.symbol, back.source, back.price, back.event_time)
from back
where (select pg_notification_queue_usage()) < 0.5

-- `LISTEN latest_prices` gives one message for each price that is shown anew, when its transaction commits:
-- {"symbol": "BTC-USD", "source": "coinbase", "price": "67187.33", "event_time": "2026-03-01T12:00:00.123457Z"}
--
-- The price is text, so that no reader makes a float of it. A message stays far below NOTIFY's 8,000 bytes, because symbol and
-- source have at most 256 each. Messages are a hint, not a log: while the server's queue is more than half full, because
-- somebody listens and does not read, none are sent, and nothing is sent again. Whoever needs every tick reads Kafka.

create function notify_latest_price(symbol text, source text, price numeric, event_time timestamptz)
returns void language sql as $$
    select pg_notify('latest_prices', json_build_object(
        'symbol', symbol,
        'source', source,
        'price', trim_scale(price)::text,
        'event_time', to_char(event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    )::text)
$$;

comment on function notify_latest_price is 'Tells whoever listens to latest_prices of a price that is shown anew.';

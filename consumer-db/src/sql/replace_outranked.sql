-- Replaces the rows at the given places, which are locked, by the staged ticks. As an insert that meets a row each time: it
-- looks each up by the key, whereas an update that joins would be planned as a scan of whole partitions.
insert into ticks (
    event_time, received_at, broker_time, kafka_offset, sequence, previous_event_time, event_id, payload_id, revision,
    kafka_partition, retracted, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct, source,
    symbol, base, quote, kind, event_time_origin, source_symbol, trade_id, previous_symbol
)
select event_time, received_at, broker_time, kafka_offset, sequence, previous_event_time, event_id, payload_id, revision,
       kafka_partition, retracted, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct, source,
       symbol, base, quote, kind, event_time_origin, source_symbol, trade_id, previous_symbol
from ticks_staging
join unnest($1::timestamptz[], $2::uuid[]) as place (event_time, event_id) using (event_time, event_id)
order by event_time, event_id
on conflict (event_time, event_id) do update set
    received_at = excluded.received_at,
    broker_time = excluded.broker_time,
    inserted_at = excluded.inserted_at,
    kafka_offset = excluded.kafka_offset,
    sequence = excluded.sequence,
    previous_event_time = excluded.previous_event_time,
    payload_id = excluded.payload_id,
    revision = excluded.revision,
    kafka_partition = excluded.kafka_partition,
    retracted = excluded.retracted,
    price = excluded.price,
    quantity = excluded.quantity,
    bid = excluded.bid,
    ask = excluded.ask,
    volume_24h = excluded.volume_24h,
    quote_volume_24h = excluded.quote_volume_24h,
    market_cap = excluded.market_cap,
    change_24h_pct = excluded.change_24h_pct,
    source = excluded.source,
    symbol = excluded.symbol,
    base = excluded.base,
    quote = excluded.quote,
    kind = excluded.kind,
    event_time_origin = excluded.event_time_origin,
    source_symbol = excluded.source_symbol,
    trade_id = excluded.trade_id,
    previous_symbol = excluded.previous_symbol

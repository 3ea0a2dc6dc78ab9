-- Inserts the staged ticks whose place is free, in key order: two writers then wait for each other in one order and cannot
-- deadlock. Gives the places written. After it every other staged place holds a row that is committed or our own.
insert into ticks (
    event_time, received_at, broker_time, kafka_offset, sequence, previous_event_time, event_id, payload_id, revision,
    kafka_partition, retracted, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct, source,
    symbol, base, quote, kind, event_time_origin, source_symbol, trade_id, previous_symbol
)
select event_time, received_at, broker_time, kafka_offset, sequence, previous_event_time, event_id, payload_id, revision,
       kafka_partition, retracted, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct, source,
       symbol, base, quote, kind, event_time_origin, source_symbol, trade_id, previous_symbol
from ticks_staging
order by event_time, event_id
on conflict (event_time, event_id) do nothing
returning event_time, event_id

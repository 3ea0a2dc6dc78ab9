copy ticks (
    event_time, received_at, broker_time, kafka_offset, sequence, previous_event_time, event_id, payload_id, revision,
    kafka_partition, retracted, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct, source,
    symbol, base, quote, kind, event_time_origin, source_symbol, trade_id, previous_symbol
) from stdin (format binary)

-- silver/quarantined_ticks: bronze rows whose time cannot be true, as they came, with the reason; filed by the broker's
-- date. Exactly the rows that have no place in silver/ticks. Wanted are rows by broker_time.
SELECT
    event_id, revision, source, symbol, base, quote, kind, price, quantity, bid, ask, volume_24h, quote_volume_24h,
    market_cap, change_24h_pct, event_time, event_time_origin, received_at, sequence, trade_id, source_symbol,
    payload_id, previous_event_time, previous_symbol, retracted, fx_age_ms, kafka_partition, kafka_offset, broker_time,
    CASE
        WHEN unix_micros(event_time) < 1230940800000000 THEN 'event_time is before 2009-01-03'
        ELSE 'event_time is more than 24 hours after broker_time'
    END AS reason,
    CAST(CAST(broker_time AS DATE) AS STRING) AS dt
FROM wanted w
CROSS JOIN bronze_ticks
WHERE (
        unix_micros(event_time) < 1230940800000000
        OR unix_micros(event_time) > unix_micros(broker_time) + 86400000000
    )
  AND unix_micros(broker_time) >= w.start_us AND unix_micros(broker_time) < w.end_us
ORDER BY broker_time, kafka_partition, kafka_offset, event_id

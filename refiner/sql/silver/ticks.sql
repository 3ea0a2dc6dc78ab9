-- silver/ticks: each event once, as its newest revision tells it, at its own time.
--
-- A place is (event_time, event_id). At a place stands the highest revision, and among equal ones the first in
-- (broker_time, kafka_partition, kafka_offset); it stands unless it is retracted, or a higher revision names the place as the
-- one that it moved away from. Nothing else is looked at, so an hour alone and the whole lake give the same rows.
-- copies: bronze rows at the winner's place, the winner included. revisions: the different revisions among them.
WITH
sound AS (
    SELECT
        t.event_id, t.revision, t.source, t.symbol, t.base, t.quote, t.kind, t.price, t.quantity, t.bid, t.ask, t.volume_24h,
        t.quote_volume_24h, t.market_cap, t.change_24h_pct, t.event_time, t.event_time_origin, t.received_at, t.sequence,
        t.trade_id, t.source_symbol, t.payload_id, t.previous_event_time, t.previous_symbol, t.retracted, t.fx_age_ms,
        t.kafka_partition, t.kafka_offset, t.broker_time, w.start_us, w.end_us
    FROM bronze_ticks t
    CROSS JOIN wanted w
    -- Not before 2009-01-03 and not more than 24 hours after the broker's clock: the rest is silver/quarantined_ticks.
    WHERE unix_micros(t.event_time) >= 1230940800000000
      AND unix_micros(t.event_time) <= unix_micros(t.broker_time) + 86400000000
),
placed AS (
    SELECT
        s.*,
        row_number() OVER (
            PARTITION BY event_time, event_id
            ORDER BY revision, broker_time DESC, kafka_partition DESC, kafka_offset DESC
        ) AS place_rows,
        dense_rank() OVER (PARTITION BY event_time, event_id ORDER BY revision) AS place_revisions,
        lead(revision) OVER (
            PARTITION BY event_time, event_id
            ORDER BY revision, broker_time DESC, kafka_partition DESC, kafka_offset DESC
        ) AS beaten_by
    FROM sound s
    WHERE unix_micros(event_time) >= start_us AND unix_micros(event_time) < end_us
),
moved_away AS (
    SELECT previous_event_time AS event_time, event_id, max(revision) AS revision
    FROM sound
    WHERE previous_event_time IS NOT NULL
      AND previous_event_time <> event_time
      AND unix_micros(previous_event_time) >= start_us
      AND unix_micros(previous_event_time) < end_us
    GROUP BY previous_event_time, event_id
)
SELECT
    event_id, revision, source, symbol, base, quote, kind, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap,
    change_24h_pct, event_time, event_time_origin, received_at, sequence, trade_id, source_symbol, payload_id,
    previous_event_time, previous_symbol, fx_age_ms, kafka_partition, kafka_offset, broker_time,
    CAST(place_rows AS BIGINT) AS copies,
    CAST(place_revisions AS BIGINT) AS revisions,
    CAST(CAST(event_time AS DATE) AS STRING) AS dt,
    lpad(CAST(extract(HOUR FROM event_time) AS STRING), 2, '0') AS hour
FROM placed p
WHERE beaten_by IS NULL
  AND NOT retracted
  AND NOT EXISTS (
      SELECT 1
      FROM moved_away m
      WHERE m.event_time = p.event_time AND m.event_id = p.event_id AND m.revision > p.revision
  )
ORDER BY symbol, event_time, event_id

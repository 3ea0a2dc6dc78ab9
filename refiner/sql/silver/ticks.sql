-- silver/ticks: each event once, as its newest revision tells it, at its own time.
--
-- A place is (event_time, event_id). At a place stands the highest revision, and among equal ones the first in
-- (broker_time, kafka_partition, kafka_offset); it stands unless it is retracted, or a higher revision names the place
-- as the one that it moved away from. A move whose own time is refused counts once a higher revision has moved the event
-- to a sound time, which may name the refused one as the place that it left. Nothing else is looked at, so an hour alone
-- and the whole lake give the same rows. copies: bronze rows at the winner's place, the winner included. revisions: the
-- different revisions among them.
WITH
sound AS (
    SELECT
        t.event_id, t.revision, t.source, t.symbol, t.base, t.quote, t.kind, t.price, t.quantity, t.bid, t.ask,
        t.volume_24h, t.quote_volume_24h, t.market_cap, t.change_24h_pct, t.event_time, t.event_time_origin,
        t.received_at, t.sequence, t.trade_id, t.source_symbol, t.payload_id, t.previous_event_time, t.previous_symbol,
        t.retracted, t.fx_age_ms, t.kafka_partition, t.kafka_offset, t.broker_time,
        unix_micros(t.event_time) AS event_us,
        unix_micros(t.previous_event_time) AS previous_us,
        w.start_us, w.end_us
    FROM wanted w
    CROSS JOIN bronze_ticks t
    -- Not before 2009-01-03, not more than 24 hours after the broker's clock: the rest is silver/quarantined_ticks.
    WHERE unix_micros(t.event_time) >= 1230940800000000
      AND unix_micros(t.event_time) <= unix_micros(t.broker_time) + 86400000000
),
-- Neighbours are asked for within an hour rather than within a place: a partition a row is slow in some engines.
placed AS (
    SELECT
        s.*,
        lead(event_us) OVER (
            PARTITION BY event_us - event_us % 3600000000
            ORDER BY event_us, event_id, revision, broker_time DESC, kafka_partition DESC, kafka_offset DESC
        ) AS next_us,
        lead(event_id) OVER (
            PARTITION BY event_us - event_us % 3600000000
            ORDER BY event_us, event_id, revision, broker_time DESC, kafka_partition DESC, kafka_offset DESC
        ) AS next_id
    FROM sound s
    WHERE event_us >= start_us AND event_us < end_us
),
told AS (
    SELECT event_us, event_id, revision, count(*) AS copies
    FROM sound
    WHERE event_us >= start_us AND event_us < end_us
    GROUP BY event_us, event_id, revision
),
told_again AS (
    SELECT event_us, event_id, sum(copies) AS copies, count(*) AS revisions
    FROM told
    GROUP BY event_us, event_id
    HAVING sum(copies) > 1
),
refused AS (
    SELECT
        t.event_id AS refused_id,
        t.revision AS refused_revision,
        unix_micros(t.previous_event_time) AS left_us
    FROM wanted w
    CROSS JOIN bronze_ticks t
    WHERE t.previous_event_time IS NOT NULL
      AND unix_micros(t.previous_event_time) >= w.start_us AND unix_micros(t.previous_event_time) < w.end_us
      AND unix_micros(t.previous_event_time) >= 1230940800000000
      AND unix_micros(t.previous_event_time) <= unix_micros(t.broker_time) + 86400000000
      AND (
            unix_micros(t.event_time) < 1230940800000000
            OR unix_micros(t.event_time) > unix_micros(t.broker_time) + 86400000000
        )
),
moves AS (
    SELECT event_id AS moved_id, max(revision) AS newest_move
    FROM sound
    WHERE previous_event_time IS NOT NULL
    GROUP BY event_id
),
departures AS (
    SELECT previous_us AS left_us, event_id AS left_id, revision AS left_by
    FROM sound
    WHERE previous_event_time IS NOT NULL
      AND previous_us >= start_us AND previous_us < end_us AND previous_us <> event_us
    UNION ALL
    SELECT r.left_us, r.refused_id, r.refused_revision
    FROM refused r
    JOIN moves m ON m.moved_id = r.refused_id
    WHERE m.newest_move > r.refused_revision
),
moved_away AS (
    SELECT left_us AS event_us, left_id AS event_id, max(left_by) AS moved_by
    FROM departures
    GROUP BY left_us, left_id
)
SELECT
    p.event_id, p.revision, p.source, p.symbol, p.base, p.quote, p.kind, p.price, p.quantity, p.bid, p.ask,
    p.volume_24h, p.quote_volume_24h, p.market_cap, p.change_24h_pct, p.event_time, p.event_time_origin, p.received_at,
    p.sequence, p.trade_id, p.source_symbol, p.payload_id, p.previous_event_time, p.previous_symbol, p.fx_age_ms,
    p.kafka_partition, p.kafka_offset, p.broker_time,
    CAST(coalesce(a.copies, 1) AS BIGINT) AS copies,
    CAST(coalesce(a.revisions, 1) AS BIGINT) AS revisions,
    CAST(CAST(p.event_time AS DATE) AS STRING) AS dt,
    lpad(CAST(extract(HOUR FROM p.event_time) AS STRING), 2, '0') AS hour
-- The few rows stand left of the many: that is the side that some engines keep in memory. No two columns of a join
-- share a name, keys excepted: DataFusion 55 pushes a filter on one down to the other.
FROM told_again a
RIGHT JOIN (
    SELECT placed.*, m.moved_by
    FROM moved_away m
    RIGHT JOIN placed ON m.event_us = placed.event_us AND m.event_id = placed.event_id
) p ON a.event_us = p.event_us AND a.event_id = p.event_id
WHERE (p.next_id IS NULL OR p.next_id <> p.event_id OR p.next_us <> p.event_us)
  AND NOT p.retracted
  AND (p.moved_by IS NULL OR p.moved_by <= p.revision)
ORDER BY p.symbol, p.event_time, p.event_id

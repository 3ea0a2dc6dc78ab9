-- silver/gaps: each gap once. A closing wins over an opening in whatever order they came; among closings, and among
-- openings, the last in (broker_time, kafka_partition, kafka_offset) wins. ended_at is null while the gap is open. One
-- that began before 2009-01-03, or more than 24 hours after the broker's clock, tells of no time and is left out. Wanted are
-- gaps by started_at.
WITH
ranked AS (
    SELECT
        g.*,
        row_number() OVER (
            PARTITION BY id
            ORDER BY
                CASE WHEN ended_at IS NULL THEN 1 ELSE 0 END, broker_time DESC, kafka_partition DESC, kafka_offset DESC
        ) AS place
    FROM bronze_gaps g
    WHERE unix_micros(started_at) >= 1230940800000000
      AND unix_micros(started_at) <= unix_micros(broker_time) + 86400000000
)
SELECT
    id, source, symbols, reason, started_at, ended_at, detail, kafka_partition, kafka_offset, broker_time,
    CAST(CAST(started_at AS DATE) AS STRING) AS dt
FROM wanted w
CROSS JOIN ranked
WHERE place = 1
  AND unix_micros(started_at) >= w.start_us AND unix_micros(started_at) < w.end_us
ORDER BY source, started_at, id

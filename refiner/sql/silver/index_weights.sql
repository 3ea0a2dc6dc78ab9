-- silver/index_weights: what a paper weighs in an index on a trading day, a row a share class (type).
--
-- Of two records with one event_id the higher revision wins, at equal revision the first in the log; retracted ones are
-- left out. The run date is the day on which the portfolio as it stands was first fetched, so it comes from the data and
-- not from a clock: the date of the newest received_at among the standing records, at UTC-3, São Paulo's time (Brazil has
-- kept no summer time since 2019). The same portfolio fetched again changes nothing. Wanted are rows by pregao_date.
WITH
ranked AS (
    SELECT
        i.*,
        row_number() OVER (
            PARTITION BY event_id
            ORDER BY revision DESC, broker_time, kafka_partition, kafka_offset
        ) AS place
    FROM wanted w
    CROSS JOIN bronze_index_weights i
    WHERE unix_micros(CAST(pregao_date AS TIMESTAMP)) >= w.start_us
      AND unix_micros(CAST(pregao_date AS TIMESTAMP)) < w.end_us
),
standing AS (
    SELECT * FROM ranked WHERE place = 1 AND NOT retracted
),
fetched AS (
    SELECT
        index_name,
        pregao_date AS pregao_day,
        CAST(timestamp_micros(max(unix_micros(received_at)) - 10800000000) AS DATE) AS run_date
    FROM standing
    GROUP BY index_name, pregao_date
),
summed AS (
    SELECT
        index_name,
        code,
        pregao_date AS pregao_day,
        type,
        min(asset) AS asset,
        min(segment) AS segment,
        -- A sum beyond DECIMAL(38,18), 10^20, is null rather than wrong.
        CASE WHEN sum(abs(CAST(theoretical_quantity AS DOUBLE))) < 9e19 THEN sum(theoretical_quantity) END
            AS theoretical_quantity,
        CASE WHEN sum(abs(CAST(part AS DOUBLE))) < 9e19 THEN sum(part) END AS part,
        count(*) AS papers
    FROM standing
    GROUP BY index_name, code, pregao_date, type
)
SELECT
    s.index_name,
    s.code,
    s.asset,
    s.type,
    s.segment,
    s.theoretical_quantity,
    s.part,
    CAST(s.papers AS BIGINT) AS papers,
    f.run_date,
    CAST(
        (unix_micros(CAST(f.run_date AS TIMESTAMP)) - unix_micros(CAST(s.pregao_day AS TIMESTAMP))) / 86400000000
        AS BIGINT
    ) AS days_since_pregao,
    CAST(s.pregao_day AS STRING) AS pregao_date,
    s.code AS action
FROM summed s
JOIN fetched f ON f.index_name = s.index_name AND f.pregao_day = s.pregao_day
ORDER BY pregao_date, action, index_name, type

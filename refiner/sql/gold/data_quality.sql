-- gold/data_quality: how well a source was heard on a day on which any source was. One that said nothing has a row
-- where a gap tells so.
--
-- longest_silence_s: whole seconds between two ticks of the day, of any symbol. Freshness (received_at - event_time,
-- only where event_time is the source's own clock) and broker delay (broker_time - received_at) are milliseconds;
-- percentiles are exact, by nearest rank. gap_seconds: the part of the day in which a gap of any symbol was open,
-- overlaps counted once, a gap without an end to the day's newest tick of any source; a gap of source * is one of every
-- source that has a row. duplicates: bronze rows that told again what was known.
-- late_ticks: in the broker more than an hour after their time. off_median_share: of the source's 1m closes that at
-- least three sources can be compared in, the share that is more than 1 % off their median; null where there are none.
WITH
-- One row a second: enough to count, and a silence of a second or more lies between two different seconds.
seconds AS (
    SELECT
        source, dt,
        unix_micros(event_time) - unix_micros(event_time) % 1000000 AS second_us,
        count(*) AS ticks,
        min(unix_micros(event_time)) AS first_us,
        max(unix_micros(event_time)) AS last_us,
        sum(copies - revisions) AS duplicates,
        sum(CASE WHEN revision > 0 THEN 1 ELSE 0 END) AS corrections,
        sum(CASE WHEN unix_micros(broker_time) - unix_micros(event_time) > 3600000000 THEN 1 ELSE 0 END) AS late_ticks
    FROM silver_ticks
    GROUP BY source, dt, unix_micros(event_time) - unix_micros(event_time) % 1000000
),
steps AS (
    SELECT
        s.*,
        first_us - lag(last_us) OVER (PARTITION BY source, dt ORDER BY second_us) AS silence_us
    FROM seconds s
),
counts AS (
    SELECT
        source, dt,
        sum(ticks) AS ticks,
        min(first_us) AS first_us,
        max(last_us) AS last_us,
        coalesce(max(silence_us), 0) AS silence_us,
        sum(duplicates) AS duplicates,
        sum(corrections) AS corrections,
        sum(late_ticks) AS late_ticks
    FROM steps
    GROUP BY source, dt
),
names AS (
    SELECT source, dt, count(DISTINCT symbol) AS symbols
    FROM gold_candles
    WHERE timeframe = '1m'
    GROUP BY source, dt
),
delays AS (
    SELECT source, dt, 1 AS measure, unix_micros(received_at) - unix_micros(event_time) AS delay_us
    FROM silver_ticks
    WHERE event_time_origin = 'SOURCE'
    UNION ALL
    SELECT source, dt, 2, unix_micros(broker_time) - unix_micros(received_at)
    FROM silver_ticks
),
-- How many ticks for each millisecond of delay: few rows, whatever the ticks.
histogram AS (
    SELECT source, dt, measure, CAST((delay_us - delay_us % 1000) / 1000 AS BIGINT) AS delay_ms, count(*) AS ticks
    FROM delays
    GROUP BY source, dt, measure, CAST((delay_us - delay_us % 1000) / 1000 AS BIGINT)
),
cumulated AS (
    SELECT
        source, dt, measure, delay_ms,
        sum(ticks) OVER (
            PARTITION BY source, dt, measure ORDER BY delay_ms ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS reached,
        sum(ticks) OVER (PARTITION BY source, dt, measure) AS ticks
    FROM histogram
),
percentiles AS (
    SELECT
        source, dt,
        min(CASE WHEN measure = 1 AND reached * 2 >= ticks THEN delay_ms END) AS freshness_p50_ms,
        min(CASE WHEN measure = 1 AND reached * 20 >= ticks * 19 THEN delay_ms END) AS freshness_p95_ms,
        max(CASE WHEN measure = 1 THEN delay_ms END) AS freshness_max_ms,
        min(CASE WHEN measure = 2 AND reached * 2 >= ticks THEN delay_ms END) AS broker_delay_p50_ms,
        min(CASE WHEN measure = 2 AND reached * 20 >= ticks * 19 THEN delay_ms END) AS broker_delay_p95_ms,
        max(CASE WHEN measure = 2 THEN delay_ms END) AS broker_delay_max_ms
    FROM cumulated
    GROUP BY source, dt
),
days AS (
    SELECT
        dt,
        min(unix_micros(bucket)) - min(unix_micros(bucket)) % 86400000000 AS day_us,
        max(unix_micros(last_event_time)) AS newest_us
    FROM gold_candles
    WHERE timeframe = '1m'
    GROUP BY dt
),
told_of AS (
    SELECT n.source AS of_source, n.dt AS of_dt
    FROM names n
    UNION
    SELECT g.source, d.dt
    FROM silver_gaps g
    JOIN days d
      ON unix_micros(g.started_at) < d.day_us + 86400000000
     AND (g.ended_at IS NULL OR unix_micros(g.ended_at) > d.day_us)
    WHERE g.source <> '*'
),
day_gaps AS (
    SELECT
        o.of_source AS source, d.dt, g.id,
        CASE WHEN g.ended_at IS NULL THEN 1 ELSE 0 END AS open_gaps,
        greatest(unix_micros(g.started_at), d.day_us) AS start_us,
        least(
            coalesce(unix_micros(g.ended_at), greatest(d.newest_us, unix_micros(g.started_at))), d.day_us + 86400000000
        ) AS end_us
    FROM silver_gaps g
    JOIN days d
      ON unix_micros(g.started_at) < d.day_us + 86400000000
     AND (g.ended_at IS NULL OR unix_micros(g.ended_at) > d.day_us)
    JOIN told_of o
      ON o.of_dt = d.dt AND (o.of_source = g.source OR g.source = '*')
),
reached_gaps AS (
    SELECT
        g.*,
        max(end_us) OVER (
            PARTITION BY source, dt ORDER BY start_us, end_us, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached_us
    FROM day_gaps g
),
gaps AS (
    SELECT
        source, dt,
        count(*) AS gaps,
        sum(open_gaps) AS open_gaps,
        sum(greatest(end_us - greatest(start_us, coalesce(reached_us, start_us)), 0)) AS gap_us
    FROM reached_gaps
    GROUP BY source, dt
),
-- A source counts once, by its trades rather than quotes, tickers, references.
closes AS (
    SELECT
        source, symbol, bucket, dt,
        coalesce(
            max(CASE WHEN price_basis = 'TRADE' THEN CAST(close AS DOUBLE) END),
            max(CASE WHEN price_basis = 'FX' THEN CAST(close AS DOUBLE) END),
            max(CASE WHEN price_basis = 'QUOTE' THEN CAST(close AS DOUBLE) END),
            max(CASE WHEN price_basis = 'TICKER' THEN CAST(close AS DOUBLE) END),
            max(CAST(close AS DOUBLE))
        ) AS close
    FROM gold_candles
    WHERE timeframe = '1m' AND price_basis <> 'FX_IMPLIED'
    GROUP BY source, symbol, bucket, dt
),
-- A close that is not positive is no price: it is off the median, and no part of it.
medians AS (
    SELECT symbol, bucket, median(close) AS median
    FROM closes
    WHERE close > 0
    GROUP BY symbol, bucket
    HAVING count(*) >= 3
),
offs AS (
    SELECT
        c.source, c.dt,
        count(*) AS compared_minutes,
        sum(CASE WHEN abs(c.close - m.median) > abs(m.median) * 0.01 THEN 1 ELSE 0 END) AS off_minutes
    FROM closes c
    JOIN medians m ON m.symbol = c.symbol AND m.bucket = c.bucket
    GROUP BY c.source, c.dt
),
heard AS (
    SELECT
        coalesce(c.source, g.source) AS source,
        coalesce(c.dt, g.dt) AS dt,
        c.ticks, c.first_us, c.last_us, c.silence_us, c.duplicates, c.corrections, c.late_ticks, g.gaps,
        g.open_gaps, g.gap_us
    FROM counts c
    FULL JOIN gaps g ON g.source = c.source AND g.dt = c.dt
)
SELECT
    h.source,
    timestamp_micros(d.day_us) AS day,
    CAST(coalesce(h.ticks, 0) AS BIGINT) AS ticks,
    CAST(coalesce(n.symbols, 0) AS BIGINT) AS symbols,
    timestamp_micros(h.first_us) AS first_event_time,
    timestamp_micros(h.last_us) AS last_event_time,
    CAST((h.silence_us - h.silence_us % 1000000) / 1000000 AS BIGINT) AS longest_silence_s,
    p.freshness_p50_ms,
    p.freshness_p95_ms,
    p.freshness_max_ms,
    p.broker_delay_p50_ms,
    p.broker_delay_p95_ms,
    p.broker_delay_max_ms,
    CAST(coalesce(h.gaps, 0) AS BIGINT) AS gaps,
    CAST(coalesce(h.open_gaps, 0) AS BIGINT) AS open_gaps,
    CAST(coalesce(h.gap_us, 0) AS DOUBLE) / 1000000 AS gap_seconds,
    CAST(coalesce(h.duplicates, 0) AS BIGINT) AS duplicates,
    CAST(coalesce(h.corrections, 0) AS BIGINT) AS corrections,
    CAST(coalesce(h.late_ticks, 0) AS BIGINT) AS late_ticks,
    CAST(coalesce(o.compared_minutes, 0) AS BIGINT) AS compared_minutes,
    CAST(o.off_minutes AS DOUBLE) / CAST(o.compared_minutes AS DOUBLE) AS off_median_share,
    h.dt
FROM heard h
JOIN days d ON d.dt = h.dt
LEFT JOIN names n ON n.source = h.source AND n.dt = h.dt
LEFT JOIN percentiles p ON p.source = h.source AND p.dt = h.dt
LEFT JOIN offs o ON o.source = h.source AND o.dt = h.dt
ORDER BY h.dt, h.source

-- gold/candles: open, high, low, close of each source, symbol and price basis (the ticks' kind) in 1m, 5m, 1h and 1d.
--
-- Open and close are the first and the last tick in (event_time, event_id). complete is false where a gap of the source
-- that concerns the symbol overlaps [bucket, bucket + timeframe); one that only touches an edge does not, an open one
-- reaches on without end, and one of source * is of all of them. An FX_IMPLIED price is computed from what others said:
-- a gap of any source counts that names no symbols, or the symbol, BASE-USD or USD-QUOTE. Ticks are grouped, never
-- sorted: only those at a minute's first and last moment are put in order.
--
-- volume is exact. DECIMAL(38,18) holds sums below 10^20 units; a sum near that or beyond is null, never wrapped (no
-- market trades so much in a day, wrong ticks may). quote_volume, vwap and average are DOUBLE.
WITH
timed AS (
    SELECT
        source, symbol, kind, dt, event_id, price, quantity,
        unix_micros(event_time) AS event_us,
        unix_micros(event_time) - unix_micros(event_time) % 60000000 AS minute_us
    FROM silver_ticks
),
minutes AS (
    SELECT
        source, symbol, kind, dt, minute_us,
        max(price) AS high,
        min(price) AS low,
        sum(quantity) AS volume,
        sum(abs(CAST(quantity AS DOUBLE))) AS rough_volume,
        sum(CAST(price AS DOUBLE) * CAST(quantity AS DOUBLE)) AS quote_volume,
        sum(CAST(price AS DOUBLE)) AS price_sum,
        count(*) AS ticks,
        min(event_us) AS first_us,
        max(event_us) AS last_us
    FROM timed
    GROUP BY source, symbol, kind, dt, minute_us
),
edges AS (
    SELECT m.*, t.event_us, t.event_id, t.price
    FROM minutes m
    JOIN timed t
      ON t.source = m.source AND t.symbol = m.symbol AND t.kind = m.kind AND t.minute_us = m.minute_us
     AND (t.event_us = m.first_us OR t.event_us = m.last_us)
),
ordered AS (
    SELECT
        e.*,
        coalesce(
            lag(event_us) OVER (PARTITION BY source, symbol, kind, dt ORDER BY event_us, event_id), -1
        ) AS before_us,
        coalesce(
            lead(event_us) OVER (PARTITION BY source, symbol, kind, dt ORDER BY event_us, event_id), 4611686018427387904
        ) AS after_us
    FROM edges e
),
timeframes AS (
    SELECT '1m' AS timeframe, CAST(60000000 AS BIGINT) AS width_us
    UNION ALL SELECT '5m', 300000000
    UNION ALL SELECT '1h', 3600000000
    UNION ALL SELECT '1d', 86400000000
),
-- What stands before and after a tick tells whether it begins or ends a bucket, and so a minute of it.
spread AS (
    SELECT
        o.*,
        t.timeframe,
        t.width_us,
        minute_us - minute_us % width_us AS bucket_us,
        before_us < minute_us AS begins_minute
    -- The few stand left of the many: a cross join gives a batch for each row of its left side in some engines.
    FROM timeframes t
    CROSS JOIN ordered o
),
buckets AS (
    SELECT
        source, symbol, kind, timeframe, dt, bucket_us, width_us,
        max(CASE WHEN before_us < bucket_us THEN price END) AS open,
        max(high) AS high,
        min(low) AS low,
        max(CASE WHEN after_us >= bucket_us + width_us THEN price END) AS close,
        CASE
            WHEN sum(CASE WHEN begins_minute THEN rough_volume END) < 9e19
                THEN sum(CASE WHEN begins_minute THEN volume END)
        END AS volume,
        sum(CASE WHEN begins_minute THEN quote_volume END) AS quote_volume,
        sum(CASE WHEN begins_minute THEN price_sum END) AS price_sum,
        sum(CASE WHEN begins_minute THEN ticks END) AS ticks,
        min(first_us) AS first_us,
        max(last_us) AS last_us
    FROM spread
    GROUP BY source, symbol, kind, timeframe, dt, bucket_us, width_us
),
-- Each gap at its start, each bucket at its end and before the gaps that start there: a bucket overlaps a gap when the
-- farthest end met so far lies behind its own start. One pass, however many gaps there are.
names AS (
    SELECT DISTINCT
        source, symbol,
        kind = 'FX_IMPLIED' AS implied,
        concat(split_part(symbol, '-', 1), '-USD') AS price_symbol,
        concat('USD-', split_part(symbol, '-', 2)) AS rate_symbol
    FROM silver_ticks
),
steps AS (
    SELECT
        source, symbol, kind = 'FX_IMPLIED' AS implied, bucket_us + width_us AS at_us, 0 AS turn, CAST(NULL AS BIGINT) AS gap_end_us,
        kind, timeframe, dt, bucket_us, open, high, low, close, volume, quote_volume, price_sum, ticks, first_us,
        last_us
    FROM buckets
    UNION ALL
    SELECT
        s.source, s.symbol, s.implied, unix_micros(g.started_at), 1, coalesce(unix_micros(g.ended_at), 4611686018427387904),
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM silver_gaps g
    JOIN names s
      ON (s.source = g.source OR g.source = '*' OR s.implied)
     AND (
            coalesce(cardinality(g.symbols), 0) = 0
            OR array_contains(g.symbols, s.symbol)
            OR (s.implied AND (array_contains(g.symbols, s.price_symbol) OR array_contains(g.symbols, s.rate_symbol)))
        )
),
judged AS (
    SELECT
        s.*,
        max(gap_end_us) OVER (
            PARTITION BY source, symbol, implied ORDER BY at_us, turn ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS farthest_us
    FROM steps s
)
SELECT
    source,
    symbol,
    kind AS price_basis,
    timestamp_micros(bucket_us) AS bucket,
    open,
    high,
    low,
    close,
    volume,
    CASE WHEN volume > 0 THEN quote_volume / CAST(volume AS DOUBLE) END AS vwap,
    quote_volume,
    price_sum / CAST(ticks AS DOUBLE) AS average,
    CAST(ticks AS BIGINT) AS ticks,
    timestamp_micros(first_us) AS first_event_time,
    timestamp_micros(last_us) AS last_event_time,
    coalesce(farthest_us, bucket_us) <= bucket_us AS complete,
    timeframe,
    dt
FROM judged
WHERE turn = 0
ORDER BY timeframe, dt, symbol, source, price_basis, bucket

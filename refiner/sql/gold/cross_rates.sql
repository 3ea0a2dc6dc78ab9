-- gold/cross_rates: the exchange rate that two prices of one thing imply, beside the one that is observed, an hour.
--
-- BTC-BRL and BTC-USD imply how many BRL one USD costs: implied_rate = price_a / price_b, units of quote_a for one
-- quote_b, with quote_a before quote_b in the alphabet. observed_rate is the last price of the symbol quote_b-quote_a or
-- the inverse of the last one of quote_a-quote_b, whichever is newer: of this hour or, since a poll that repeats itself is
-- told once, of up to 24 hours before (observed_age_h), unless a gap of one of its sources lies between; else null.
-- premium = implied / observed - 1. USDT and USD are different quotes; what lies between them shows as a premium. The
-- price of a symbol is the median of its sources' 1h closes; prices computed with an exchange rate (FX_IMPLIED) would
-- prove themselves and do not count. complete: no counted candle touches a gap. Wanted are rows by bucket.
WITH
-- A source counts once, by its trades rather than quotes, tickers, references. A close that is not positive is no price.
closes AS (
    SELECT
        source, symbol, bucket, dt,
        coalesce(
            max(CASE WHEN price_basis = 'TRADE' THEN CAST(close AS DOUBLE) END),
            max(CASE WHEN price_basis = 'FX' THEN CAST(close AS DOUBLE) END),
            max(CASE WHEN price_basis = 'QUOTE' THEN CAST(close AS DOUBLE) END),
            max(CASE WHEN price_basis = 'TICKER' THEN CAST(close AS DOUBLE) END),
            max(CAST(close AS DOUBLE))
        ) AS close,
        coalesce(
            bool_and(CASE WHEN price_basis = 'TRADE' THEN complete END),
            bool_and(CASE WHEN price_basis = 'FX' THEN complete END),
            bool_and(CASE WHEN price_basis = 'QUOTE' THEN complete END),
            bool_and(CASE WHEN price_basis = 'TICKER' THEN complete END),
            bool_and(complete)
        ) AS complete
    FROM gold_candles
    WHERE timeframe = '1h' AND price_basis <> 'FX_IMPLIED' AND close > 0
    GROUP BY source, symbol, bucket, dt
),
prices AS (
    SELECT
        symbol, bucket, dt,
        unix_micros(bucket) AS bucket_us,
        split_part(symbol, '-', 1) AS base,
        split_part(symbol, '-', 2) AS quote,
        median(close) AS price,
        bool_and(complete) AS complete
    FROM closes
    GROUP BY symbol, bucket, dt
),
pairs AS (
    SELECT
        a.base, a.quote AS quote_a, b.quote AS quote_b, a.bucket, a.bucket_us, a.dt,
        a.price AS price_a,
        b.price AS price_b,
        a.price / b.price AS implied_rate,
        a.complete AND b.complete AS complete
    FROM prices a
    JOIN prices b ON b.base = a.base AND b.bucket = a.bucket AND b.quote > a.quote
),
wanted_pairs AS (
    SELECT p.*
    FROM wanted w
    CROSS JOIN pairs p
    WHERE p.bucket_us >= w.start_us AND p.bucket_us < w.end_us
),
hours AS (
    SELECT DISTINCT quote_a AS of_a, quote_b AS of_b, bucket_us AS hour_us
    FROM wanted_pairs
),
rates AS (
    SELECT h.of_a, h.of_b, h.hour_us, p.symbol, p.bucket_us AS rate_us, 1 AS way, p.price AS rate, p.complete
    FROM hours h
    JOIN prices p ON p.base = h.of_b AND p.quote = h.of_a
    WHERE p.bucket_us <= h.hour_us AND p.bucket_us >= h.hour_us - 86400000000
    UNION ALL
    SELECT h.of_a, h.of_b, h.hour_us, p.symbol, p.bucket_us, 2, 1 / p.price, p.complete
    FROM hours h
    JOIN prices p ON p.base = h.of_a AND p.quote = h.of_b
    WHERE p.bucket_us <= h.hour_us AND p.bucket_us >= h.hour_us - 86400000000
),
ranked AS (
    SELECT r.*, row_number() OVER (PARTITION BY of_a, of_b, hour_us ORDER BY rate_us DESC, way) AS place
    FROM rates r
),
-- A rate from before, and a gap since of a source that told it: nobody knows whether it moved.
unknown AS (
    SELECT DISTINCT r.of_a AS gap_a, r.of_b AS gap_b, r.hour_us AS gap_us
    FROM ranked r
    JOIN closes c ON c.symbol = r.symbol AND unix_micros(c.bucket) = r.rate_us
    JOIN silver_gaps g
      ON (g.source = c.source OR g.source = '*')
     AND (coalesce(cardinality(g.symbols), 0) = 0 OR array_contains(g.symbols, c.symbol))
    WHERE r.place = 1
      AND r.rate_us < r.hour_us
      AND unix_micros(g.started_at) < r.hour_us + 3600000000
      AND coalesce(unix_micros(g.ended_at), 4611686018427387904) > r.rate_us + 3600000000
),
known AS (
    SELECT r.of_a, r.of_b, r.hour_us, r.rate_us, r.rate, r.complete AS rate_complete
    FROM ranked r
    LEFT JOIN unknown u ON u.gap_a = r.of_a AND u.gap_b = r.of_b AND u.gap_us = r.hour_us
    WHERE r.place = 1 AND u.gap_us IS NULL
)
SELECT
    p.base,
    p.quote_a,
    p.quote_b,
    p.bucket,
    p.price_a,
    p.price_b,
    p.implied_rate,
    k.rate AS observed_rate,
    CAST((p.bucket_us - k.rate_us) / 3600000000 AS BIGINT) AS observed_age_h,
    p.implied_rate / k.rate - 1 AS premium,
    p.complete AND coalesce(k.rate_complete, true) AS complete,
    p.dt
FROM wanted_pairs p
LEFT JOIN known k ON k.of_a = p.quote_a AND k.of_b = p.quote_b AND k.hour_us = p.bucket_us
ORDER BY dt, base, quote_a, quote_b, bucket

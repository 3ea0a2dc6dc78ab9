-- gold/daily_stats: a day of each source, symbol and price basis, from its 1m and 1d candles.
--
-- open, close, min, max and range are exact. realised_volatility is the square root of the sum of squared log returns
-- from one 1m close to the next one that there is, within the day; it is of one day, not annualised.
WITH
minutes AS (
    SELECT
        source, symbol, price_basis, dt, bucket,
        CAST(close AS DOUBLE) AS close,
        lag(CAST(close AS DOUBLE)) OVER (PARTITION BY source, symbol, price_basis, dt ORDER BY bucket) AS close_before
    FROM gold_candles
    WHERE timeframe = '1m'
),
moves AS (
    SELECT
        source, symbol, price_basis, dt,
        CASE WHEN close > 0 AND close_before > 0 THEN ln(close / close_before) END AS move
    FROM minutes
),
volatility AS (
    SELECT source, symbol, price_basis, dt, sqrt(sum(move * move)) AS realised_volatility, count(*) AS minutes
    FROM moves
    GROUP BY source, symbol, price_basis, dt
)
SELECT
    d.source,
    d.symbol,
    d.price_basis,
    d.bucket AS day,
    d.open,
    d.close,
    d.low AS min,
    d.high AS max,
    -- One digit less before the point: Spark keeps all eighteen behind it then.
    TRY_CAST(d.high AS DECIMAL(37, 18)) - TRY_CAST(d.low AS DECIMAL(37, 18)) AS range,
    d.average,
    d.ticks,
    CAST(v.minutes AS BIGINT) AS minutes,
    d.volume,
    CASE WHEN d.open <> 0 THEN CAST(d.close AS DOUBLE) / CAST(d.open AS DOUBLE) - 1 END AS simple_return,
    CASE WHEN d.open > 0 AND d.close > 0 THEN ln(CAST(d.close AS DOUBLE) / CAST(d.open AS DOUBLE)) END AS log_return,
    v.realised_volatility,
    d.complete,
    d.dt
FROM gold_candles d
JOIN volatility v
  ON v.source = d.source AND v.symbol = d.symbol AND v.price_basis = d.price_basis AND v.dt = d.dt
WHERE d.timeframe = '1d'
ORDER BY d.dt, d.symbol, d.source, d.price_basis

-- gold/cross_rates: the exchange rate that two prices of one thing imply, beside the one that is observed, an hour.
--
-- BTC-BRL and BTC-USD imply how many BRL one USD costs: implied_rate = price_a / price_b, units of quote_a for one
-- quote_b, with quote_a before quote_b in the alphabet. observed_rate is the price of the symbol quote_b-quote_a, else
-- the inverse of quote_a-quote_b, null where there is neither. premium = implied / observed - 1. USDT and USD are
-- different quotes; what lies between them shows as a premium. The price of a symbol is the median of its sources' 1h
-- closes; prices computed with an exchange rate (FX_IMPLIED) would prove themselves and do not count. complete: no
-- counted candle touches a gap.
WITH
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
        ) AS close,
        coalesce(
            bool_and(CASE WHEN price_basis = 'TRADE' THEN complete END),
            bool_and(CASE WHEN price_basis = 'FX' THEN complete END),
            bool_and(CASE WHEN price_basis = 'QUOTE' THEN complete END),
            bool_and(CASE WHEN price_basis = 'TICKER' THEN complete END),
            bool_and(complete)
        ) AS complete
    FROM gold_candles
    WHERE timeframe = '1h' AND price_basis <> 'FX_IMPLIED'
    GROUP BY source, symbol, bucket, dt
),
prices AS (
    SELECT
        symbol, bucket, dt,
        split_part(symbol, '-', 1) AS base,
        split_part(symbol, '-', 2) AS quote,
        median(close) AS price,
        bool_and(complete) AS complete
    FROM closes
    GROUP BY symbol, bucket, dt
),
pairs AS (
    SELECT
        a.base, a.quote AS quote_a, b.quote AS quote_b, a.bucket, a.dt,
        a.price AS price_a,
        b.price AS price_b,
        a.price / b.price AS implied_rate,
        a.complete AND b.complete AS complete
    FROM prices a
    JOIN prices b ON b.base = a.base AND b.bucket = a.bucket AND b.quote > a.quote
    WHERE a.price > 0 AND b.price > 0
),
observed AS (
    SELECT
        p.*,
        CASE WHEN d.price > 0 THEN d.price WHEN i.price > 0 THEN 1 / i.price END AS observed_rate,
        CASE WHEN d.price > 0 THEN d.complete WHEN i.price > 0 THEN i.complete ELSE true END AS observed_complete
    FROM pairs p
    LEFT JOIN prices d ON d.base = p.quote_b AND d.quote = p.quote_a AND d.bucket = p.bucket
    LEFT JOIN prices i ON i.base = p.quote_a AND i.quote = p.quote_b AND i.bucket = p.bucket
)
SELECT
    base,
    quote_a,
    quote_b,
    bucket,
    price_a,
    price_b,
    implied_rate,
    observed_rate,
    implied_rate / observed_rate - 1 AS premium,
    complete AND observed_complete AS complete,
    dt
FROM observed
ORDER BY dt, base, quote_a, quote_b, bucket

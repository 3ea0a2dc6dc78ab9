-- The price of a symbol at the end of each hour: the median of its sources' 1h closes. What the forecasts are made
-- from.
--
-- Prices that were computed with an exchange rate (FX_IMPLIED) are not observed and do not count. complete: no counted
-- candle touches a gap.
WITH
-- A source counts once, by its trades rather than quotes, tickers, references. A close that is not positive is no price.
closes AS (
    SELECT
        source, symbol, bucket,
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
    GROUP BY source, symbol, bucket
)
SELECT
    symbol,
    bucket,
    median(close) AS close,
    CAST(count(*) AS BIGINT) AS sources,
    bool_and(complete) AS complete
FROM closes
GROUP BY symbol, bucket
ORDER BY symbol, bucket

-- The price of a symbol at the end of each hour: the median of its sources' 1h closes. What the forecasts are made from.
--
-- A source counts once, by its trades rather than quotes, tickers, references. Prices that were computed with an exchange rate
-- (FX_IMPLIED) are not observed and do not count. complete: no counted candle touches a gap.
WITH
preferred AS (
    SELECT
        source, symbol, bucket, complete,
        CAST(close AS DOUBLE) AS close,
        row_number() OVER (
            PARTITION BY source, symbol, bucket
            ORDER BY
                CASE price_basis WHEN 'TRADE' THEN 1 WHEN 'FX' THEN 2 WHEN 'QUOTE' THEN 3 WHEN 'TICKER' THEN 4 ELSE 5 END,
                price_basis
        ) AS choice
    FROM gold_candles
    WHERE timeframe = '1h' AND price_basis <> 'FX_IMPLIED'
),
ranked AS (
    SELECT
        symbol, bucket, close, complete,
        row_number() OVER (PARTITION BY symbol, bucket ORDER BY close, source) AS place,
        count(*) OVER (PARTITION BY symbol, bucket) AS sources
    FROM preferred
    WHERE choice = 1
)
SELECT
    symbol,
    bucket,
    avg(CASE WHEN place * 2 >= sources AND place * 2 <= sources + 2 THEN close END) AS close,
    CAST(count(*) AS BIGINT) AS sources,
    bool_and(complete) AS complete
FROM ranked
GROUP BY symbol, bucket
ORDER BY symbol, bucket

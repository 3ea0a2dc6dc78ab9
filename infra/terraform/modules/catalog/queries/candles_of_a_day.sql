-- A day of hourly candles of one symbol
SELECT bucket, source, price_basis, open, high, low, close, volume, complete
FROM gold_candles
WHERE timeframe = '1h' AND dt = CAST(current_date - INTERVAL '1' DAY AS varchar) AND symbol = 'BTC-USD'
ORDER BY source, price_basis, bucket

-- What crypto prices imply of the real, beside the observed rate, in the last week
SELECT bucket, base, quote_a, quote_b, implied_rate, observed_rate, premium
FROM gold_cross_rates
WHERE dt >= CAST(current_date - INTERVAL '7' DAY AS varchar)
ORDER BY bucket DESC

-- How well each source was heard in the last seven days
SELECT dt, source, ticks, gaps, gap_seconds, longest_silence_s, freshness_p95_ms, duplicates, corrections, late_ticks
FROM gold_data_quality
WHERE dt >= CAST(current_date - INTERVAL '7' DAY AS varchar)
ORDER BY dt DESC, source

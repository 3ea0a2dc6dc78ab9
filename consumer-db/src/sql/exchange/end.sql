-- Whether the generation stands live from this commit on ($1), and of a promotion what was exchanged.
update $generation.exchange set
    is_promoted = $1,
    taken = case when $1 then (select count(*) from $generation.ticks_before) else taken end,
    put = case when $1 then (select count(*) from $generation.ticks_after) else put end,
    candles = case when $1 then (
        select count(*) from (
            select symbol, source, price_basis, timeframe, bucket from $generation.candles_before
            union
            select symbol, source, price_basis, timeframe, bucket from $generation.candles_after
        ) as exchanged
    ) else candles end,
    latest = case when $1 then (
        select count(*) from (
            select symbol, source from $generation.latest_before union select symbol, source from $generation.latest_after
        ) as exchanged
    ) else latest end
returning taken, put, candles, latest

-- Candles that are what a promotion made of them are again what they were. Gives the others, each by its first minute: they are
-- to be made again. $1, $2, $3, $4: minutes in which a tick is left as the promotion has it, or as it came since.
with exchanged as (
    select symbol, source, price_basis, timeframe, bucket, before.symbol is not null as was, after as made
    from $generation.candles_before as before
    full join $generation.candles_after as after using (symbol, source, price_basis, timeframe, bucket)
),
judged as (
    select exchanged.*,
           row(candles.*) is not distinct from row((exchanged.made).*)
           and not exists (
               select from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) as kept (symbol, source, price_basis, minute)
               where kept.symbol = exchanged.symbol and kept.source = exchanged.source
                 and kept.price_basis = exchanged.price_basis and kept.minute >= exchanged.bucket
                 and kept.minute < exchanged.bucket + candle_width(exchanged.timeframe)
           ) as goes_back
    from exchanged
    left join candles using (symbol, source, price_basis, timeframe, bucket)
),
gone as (
    delete from candles
    using judged
    where judged.goes_back and not judged.was
      and candles.symbol = judged.symbol and candles.source = judged.source and candles.price_basis = judged.price_basis
      and candles.timeframe = judged.timeframe and candles.bucket = judged.bucket
),
back as (
    insert into candles (
        symbol, source, price_basis, timeframe, bucket, open, high, low, close, quote_volume, ticks, first_event_time,
        last_event_time, complete, first_event_id, last_event_id, price_sum, quantity, negative_quantity, updated_at
    )
    select symbol, source, price_basis, timeframe, bucket, open, high, low, close, quote_volume, ticks, first_event_time,
           last_event_time, complete, first_event_id, last_event_id, price_sum, quantity, negative_quantity, updated_at
    from $generation.candles_before
    join judged using (symbol, source, price_basis, timeframe, bucket)
    where judged.goes_back
    on conflict (symbol, source, price_basis, timeframe, bucket) do update set
        open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
        quote_volume = excluded.quote_volume, ticks = excluded.ticks, first_event_time = excluded.first_event_time,
        last_event_time = excluded.last_event_time, complete = excluded.complete, first_event_id = excluded.first_event_id,
        last_event_id = excluded.last_event_id, price_sum = excluded.price_sum, quantity = excluded.quantity,
        negative_quantity = excluded.negative_quantity, updated_at = excluded.updated_at
)
select symbol, source, price_basis, bucket from judged where not goes_back

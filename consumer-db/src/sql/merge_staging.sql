-- Upserts the staged ticks, at most one per place, in key order: two writers then lock rows in the same order and cannot
-- deadlock. The higher revision wins; at equal revision the record that the broker took first.
-- Gives how many places were known before, and the places whose row was written.
with written as (
    insert into ticks (
        event_time, received_at, broker_time, kafka_offset, sequence, previous_event_time, event_id, payload_id, revision,
        kafka_partition, retracted, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct, source,
        symbol, base, quote, kind, event_time_origin, source_symbol, trade_id, previous_symbol
    )
    select event_time, received_at, broker_time, kafka_offset, sequence, previous_event_time, event_id, payload_id, revision,
           kafka_partition, retracted, price, quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct, source,
           symbol, base, quote, kind, event_time_origin, source_symbol, trade_id, previous_symbol
    from ticks_staging
    order by event_time, event_id
    on conflict (event_time, event_id) do update set
        received_at = excluded.received_at,
        broker_time = excluded.broker_time,
        inserted_at = excluded.inserted_at,
        kafka_offset = excluded.kafka_offset,
        sequence = excluded.sequence,
        previous_event_time = excluded.previous_event_time,
        payload_id = excluded.payload_id,
        revision = excluded.revision,
        kafka_partition = excluded.kafka_partition,
        retracted = excluded.retracted,
        price = excluded.price,
        quantity = excluded.quantity,
        bid = excluded.bid,
        ask = excluded.ask,
        volume_24h = excluded.volume_24h,
        quote_volume_24h = excluded.quote_volume_24h,
        market_cap = excluded.market_cap,
        change_24h_pct = excluded.change_24h_pct,
        source = excluded.source,
        symbol = excluded.symbol,
        base = excluded.base,
        quote = excluded.quote,
        kind = excluded.kind,
        event_time_origin = excluded.event_time_origin,
        source_symbol = excluded.source_symbol,
        trade_id = excluded.trade_id,
        previous_symbol = excluded.previous_symbol
    where excluded.revision > ticks.revision
       or (excluded.revision = ticks.revision
           and (excluded.broker_time, excluded.kafka_partition, excluded.kafka_offset)
             < (ticks.broker_time, ticks.kafka_partition, ticks.kafka_offset))
    returning event_time, event_id
)
-- The limit keeps this a look-up per row: as a join it would be planned as a scan of whole partitions.
select (select count(*) from ticks_staging cross join lateral (
            select from ticks
            where ticks.event_time = ticks_staging.event_time and ticks.event_id = ticks_staging.event_id
            limit 1
       ) as found) as known,
       coalesce(array_agg(event_time), '{}') as written_times,
       coalesce(array_agg(event_id), '{}') as written_ids
from written

do $$
declare
    part limit_arrays;
begin
    for part in select * from limit_arrays loop
        insert into limit_unnested (
            event_time, received_at, broker_time, inserted_at, kafka_offset, sequence, previous_event_time, event_id,
            payload_id, revision, kafka_partition, retracted, price, quantity, bid, ask, volume_24h,
            quote_volume_24h, market_cap, change_24h_pct, source, symbol, base, quote, kind, event_time_origin,
            source_symbol, trade_id, previous_symbol
        )
        select *
        from unnest(
            part.event_time, part.received_at, part.broker_time, part.inserted_at, part.kafka_offset, part.sequence,
            part.previous_event_time, part.event_id, part.payload_id, part.revision, part.kafka_partition,
            part.retracted, part.price, part.quantity, part.bid, part.ask, part.volume_24h, part.quote_volume_24h,
            part.market_cap, part.change_24h_pct, part.source, part.symbol, part.base, part.quote, part.kind,
            part.event_time_origin, part.source_symbol, part.trade_id, part.previous_symbol
        )
        on conflict (event_time, event_id) do update set revision = excluded.revision
        where limit_unnested.revision < excluded.revision;
    end loop;
end
$$;

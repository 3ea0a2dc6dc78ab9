-- Every row's event, the record that it came from, and what it says, as audit/content.rs comes to it from the record.
-- Streamed in no order: the audit has the topic's events sorted. $1: rows whose broker_time is older are left out.
select event_id, kafka_partition, kafka_offset,
       hash_record_extended(
           row(
               event_time, received_at, sequence, previous_event_time, payload_id, revision, retracted::integer,
               (price < 0)::integer, coalesce(change_24h_pct < 0, false)::integer, price, quantity, bid, ask, volume_24h,
               quote_volume_24h, market_cap, change_24h_pct, source, symbol, base, quote, kind, event_time_origin,
               source_symbol, trade_id, previous_symbol
           ), 0
       ) as content
from ticks
where broker_time >= $1::text::timestamptz

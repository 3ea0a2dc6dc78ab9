-- A tick as consumer-db writes it.
insert into ticks (event_time, received_at, broker_time, kafka_offset, event_id, payload_id, revision, kafka_partition, retracted,
                   price, quantity, source, symbol, base, quote, kind, event_time_origin, source_symbol)
select at, at, now(), $2, $3, $3, $4, $5, $6, $7::numeric, $8::numeric, $9, $10, $10, 'USD', $11, 'SOURCE', $10
from (select timestamptz '1970-01-01 00:00:00+00' + $1::bigint * interval '1 microsecond' as at) as times
on conflict (event_time, event_id) do update
set revision = excluded.revision, retracted = excluded.retracted, price = excluded.price,
    kafka_offset = excluded.kafka_offset, kafka_partition = excluded.kafka_partition

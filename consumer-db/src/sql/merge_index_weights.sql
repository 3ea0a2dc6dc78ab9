-- Writes the told weights where they win over what is known: the higher revision, then the first that the broker took.
insert into index_weights (
    event_id, revision, source, index_name, pregao_date, code, type, asset, segment, part, theoretical_quantity,
    received_at, payload_id, retracted, broker_time, kafka_partition, kafka_offset
)
select distinct on (event_id)
       event_id, revision, source, index_name, pregao_date, code, type, asset, segment, part, theoretical_quantity,
       received_at, payload_id, retracted, broker_time, kafka_partition, kafka_offset
from jsonb_to_recordset($1::text::jsonb) as weight (
    event_id uuid, revision integer, source text, index_name text, pregao_date date, code text, type text, asset text,
    segment text, part numeric, theoretical_quantity numeric, received_at timestamptz, payload_id uuid,
    retracted boolean, broker_time timestamptz, kafka_partition integer, kafka_offset bigint
)
order by event_id, revision desc, broker_time, kafka_partition, kafka_offset
on conflict (event_id) do update set
    revision = excluded.revision,
    source = excluded.source,
    index_name = excluded.index_name,
    pregao_date = excluded.pregao_date,
    code = excluded.code,
    type = excluded.type,
    asset = excluded.asset,
    segment = excluded.segment,
    part = excluded.part,
    theoretical_quantity = excluded.theoretical_quantity,
    received_at = excluded.received_at,
    payload_id = excluded.payload_id,
    retracted = excluded.retracted,
    broker_time = excluded.broker_time,
    kafka_partition = excluded.kafka_partition,
    kafka_offset = excluded.kafka_offset,
    inserted_at = excluded.inserted_at
where excluded.revision > index_weights.revision
   or (excluded.revision = index_weights.revision
       and (excluded.broker_time, excluded.kafka_partition, excluded.kafka_offset)
         < (index_weights.broker_time, index_weights.kafka_partition, index_weights.kafka_offset))

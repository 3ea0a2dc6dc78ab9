-- Writes the told alerts: of several records of one alert the first that the broker took.
insert into alerts (
    alert_id, rule, rule_hash, kind, state, severity, symbol, source, price, reference, change_pct, event_time, fired_at,
    event_id, trigger_topic, trigger_partition, trigger_offset, message, broker_time, kafka_partition, kafka_offset
)
select distinct on (alert_id)
       alert_id, rule, rule_hash, kind, state, severity, symbol, source, price, reference, change_pct, event_time, fired_at,
       event_id, trigger_topic, trigger_partition, trigger_offset, message, broker_time, kafka_partition, kafka_offset
from jsonb_to_recordset($1::text::jsonb) as alert (
    alert_id uuid, rule text, rule_hash text, kind text, state text, severity text, symbol text, source text,
    price numeric, reference numeric, change_pct numeric, event_time timestamptz, fired_at timestamptz, event_id uuid,
    trigger_topic text, trigger_partition integer, trigger_offset bigint, message text, broker_time timestamptz,
    kafka_partition integer, kafka_offset bigint
)
order by alert_id, broker_time, kafka_partition, kafka_offset
on conflict (alert_id) do update set
    rule = excluded.rule,
    rule_hash = excluded.rule_hash,
    kind = excluded.kind,
    state = excluded.state,
    severity = excluded.severity,
    symbol = excluded.symbol,
    source = excluded.source,
    price = excluded.price,
    reference = excluded.reference,
    change_pct = excluded.change_pct,
    event_time = excluded.event_time,
    fired_at = excluded.fired_at,
    event_id = excluded.event_id,
    trigger_topic = excluded.trigger_topic,
    trigger_partition = excluded.trigger_partition,
    trigger_offset = excluded.trigger_offset,
    message = excluded.message,
    broker_time = excluded.broker_time,
    kafka_partition = excluded.kafka_partition,
    kafka_offset = excluded.kafka_offset,
    inserted_at = excluded.inserted_at
where (excluded.broker_time, excluded.kafka_partition, excluded.kafka_offset)
    < (alerts.broker_time, alerts.kafka_partition, alerts.kafka_offset)

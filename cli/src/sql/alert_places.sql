-- Every alert, the record that its row came from, and what it says, as audit/content.rs comes to it from the record. $1: rows
-- whose broker_time is older are left out.
select alert_id, kafka_partition, kafka_offset,
       hash_record_extended(
           row(
               event_time, fired_at, trigger_offset, trigger_partition, event_id, coalesce(price < 0, false)::integer, price,
               coalesce(reference < 0, false)::integer, reference, coalesce(change_pct < 0, false)::integer, change_pct, rule,
               rule_hash, kind, state, severity, symbol, source, trigger_topic, message
           ), 0
       ) as content
from alerts
where broker_time >= $1::text::timestamptz

-- Every index weight, the record that its row came from, and what it says, as audit/content.rs comes to it from the record. $1:
-- rows whose broker_time is older are left out.
select event_id, kafka_partition, kafka_offset,
       hash_record_extended(
           row(
               received_at, revision, retracted::integer, pregao_date - date '2000-01-01', payload_id, (part < 0)::integer, part,
               (theoretical_quantity < 0)::integer, theoretical_quantity, source, index_name, code, type, asset, segment
           ), 0
       ) as content
from index_weights
where broker_time >= $1::text::timestamptz

-- Every gap, the record that its row came from, and what it says, as audit/content.rs comes to it from the record. $1: rows whose
-- broker_time is older are left out.
select id, kafka_partition, kafka_offset,
       hash_record_extended(
           row(started_at, ended_at, source, reason, detail, array_to_string(symbols, chr(31))), 0
       ) as content
from gaps
where broker_time >= $1::text::timestamptz

-- Once, before the first row: what the generation's rows are judged by is as it is live, and nobody who listens to live prices
-- hears of its own. $generation is its schema; what has no schema to its name is live.
-- One after the other: Postgres does not have one function replaced by two at once.
select pg_advisory_xact_lock(hashtextextended('$generation', 0));

create or replace function $generation.notify_latest_price(symbol text, source text, price numeric, event_time timestamptz)
returns void language sql as '';

update $generation.retention as own
set ticks_from = live.ticks_from
from retention as live
where own.ticks_from <> live.ticks_from
  and not exists (select from $generation.topic_positions);

insert into $generation.gaps (
    id, source, symbols, reason, started_at, ended_at, detail, broker_time, kafka_partition, kafka_offset, inserted_at
)
select id, source, symbols, reason, started_at, ended_at, detail, broker_time, kafka_partition, kafka_offset, inserted_at
from gaps
where not exists (select from $generation.topic_positions)
on conflict (id) do nothing;

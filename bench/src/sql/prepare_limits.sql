-- The same rows, again and again: where they come from, whole and as arrays of 5,000; a bare table for COPY; and two tables
-- with the keys of `ticks`.
create unlogged table limit_source as select * from ticks;
create unlogged table limit_arrays as
select
    array_agg(event_time) as event_time, array_agg(received_at) as received_at,
    array_agg(broker_time) as broker_time, array_agg(inserted_at) as inserted_at,
    array_agg(kafka_offset) as kafka_offset, array_agg(sequence) as sequence,
    array_agg(previous_event_time) as previous_event_time, array_agg(event_id) as event_id,
    array_agg(payload_id) as payload_id, array_agg(revision) as revision,
    array_agg(kafka_partition) as kafka_partition, array_agg(retracted) as retracted, array_agg(price) as price,
    array_agg(quantity) as quantity, array_agg(bid) as bid, array_agg(ask) as ask,
    array_agg(volume_24h) as volume_24h, array_agg(quote_volume_24h) as quote_volume_24h,
    array_agg(market_cap) as market_cap, array_agg(change_24h_pct) as change_24h_pct, array_agg(source) as source,
    array_agg(symbol) as symbol, array_agg(base) as base, array_agg(quote) as quote, array_agg(kind) as kind,
    array_agg(event_time_origin) as event_time_origin, array_agg(source_symbol) as source_symbol,
    array_agg(trade_id) as trade_id, array_agg(previous_symbol) as previous_symbol
from (select *, (row_number() over () - 1) / 5000 as part from ticks) as parted
group by part;
create table limit_copied (like ticks including defaults);
create table limit_keyed (like ticks including defaults) partition by range (event_time);
create table limit_keyed_all partition of limit_keyed default;
alter table limit_keyed add primary key (event_time, event_id);
create index on limit_keyed (symbol, event_time);
create table limit_unnested (like ticks including defaults) partition by range (event_time);
create table limit_unnested_all partition of limit_unnested default;
alter table limit_unnested add primary key (event_time, event_id);
create index on limit_unnested (symbol, event_time);
checkpoint;

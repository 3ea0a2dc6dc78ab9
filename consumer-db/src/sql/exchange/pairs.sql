-- Each event of the generation beside what is live of it, and each live row that the scope's records made and the generation
-- has not. $generation is its schema; what has no schema to its name is live. $1, $2, $3: partitions, first offsets and
-- exclusive last ones of the scope; $4: its symbols, none for all.
--
-- Whose word counts is judged as the rows were: a live row of a record outside the scope that outranks the generation's
-- (a higher revision, or among equals the one that the broker took first) is as it should be, and so is one that was
-- corrected beyond the generation's correction.
with scope as (
    select * from unnest($1::int[], $2::bigint[], $3::bigint[]) as stretch (kafka_partition, begins, ends)
),
own as (
    select ticks.event_id, ticks as tick
    from $generation.ticks as ticks
    where event_time >= (select ticks_from::timestamp at time zone 'UTC' from retention)
),
live as (
    select ticks.event_id, ticks as tick,
           scope.kafka_partition is not null and (cardinality($4::text[]) = 0 or ticks.symbol = any ($4)) as is_in_scope
    from ticks
    left join scope
        on scope.kafka_partition = ticks.kafka_partition
        and ticks.kafka_offset >= scope.begins and ticks.kafka_offset < scope.ends
    left join (select distinct event_id from own) as known on known.event_id = ticks.event_id
    where known.event_id is not null
       or (scope.kafka_partition is not null and (cardinality($4::text[]) = 0 or ticks.symbol = any ($4)))
),
compared as (
    select coalesce(own.event_id, live.event_id) as event_id,
           own.tick as own,
           live.tick as live,
           live.is_in_scope,
           (own.tick).kafka_partition = -1 as is_correction,
           ((own.tick).event_time, (own.tick).received_at, (own.tick).sequence, (own.tick).payload_id, (own.tick).retracted,
            (own.tick).price, (own.tick).quantity, (own.tick).bid, (own.tick).ask, (own.tick).volume_24h,
            (own.tick).quote_volume_24h, (own.tick).market_cap, (own.tick).change_24h_pct, (own.tick).source,
            (own.tick).symbol, (own.tick).base, (own.tick).quote, (own.tick).kind, (own.tick).event_time_origin,
            (own.tick).source_symbol, (own.tick).trade_id)
           is distinct from
           ((live.tick).event_time, (live.tick).received_at, (live.tick).sequence, (live.tick).payload_id, (live.tick).retracted,
            (live.tick).price, (live.tick).quantity, (live.tick).bid, (live.tick).ask, (live.tick).volume_24h,
            (live.tick).quote_volume_24h, (live.tick).market_cap, (live.tick).change_24h_pct, (live.tick).source,
            (live.tick).symbol, (live.tick).base, (live.tick).quote, (live.tick).kind, (live.tick).event_time_origin,
            (live.tick).source_symbol, (live.tick).trade_id) as says_otherwise,
           ((own.tick).revision, (own.tick).broker_time, (own.tick).kafka_partition, (own.tick).kafka_offset,
            (own.tick).previous_event_time, (own.tick).previous_symbol)
           is distinct from
           ((live.tick).revision, (live.tick).broker_time, (live.tick).kafka_partition, (live.tick).kafka_offset,
            (live.tick).previous_event_time, (live.tick).previous_symbol) as is_of_another_record
    from live
    full join own on own.event_id = live.event_id
),
pairs as (
    select *,
           case
               when (own).event_id is null then 'only_live'
               when (live).event_id is null then 'only_generation'
               when is_correction and (live).revision > (own).revision then 'left_alone'
               when is_correction and says_otherwise then 'different'
               when is_correction then 'same'
               when not is_in_scope
                    and ((live).revision > (own).revision
                         or ((live).revision = (own).revision
                             and ((live).broker_time, (live).kafka_partition, (live).kafka_offset)
                               < ((own).broker_time, (own).kafka_partition, (own).kafka_offset)))
               then 'left_alone'
               when says_otherwise or is_of_another_record then 'different'
               else 'same'
           end as verdict
    from compared
)

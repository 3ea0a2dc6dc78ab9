-- A line for each column that differs, and one for each row that only one of the two has. How a correction's record came is no
-- difference: it is judged by what it says. Times are those of the session's time zone. $5: how many lines at most.
select change, event_id::text, symbol, source,
       to_json(event_time) #>> '{}',
       name, live_value, own_value
from (
    select verdict as change, event_id, (own).symbol, (own).source, (own).event_time, number, name, live_value, own_value
    from pairs
    cross join lateral (values
        (1, 'event_time', true, to_json((live).event_time) #>> '{}', to_json((own).event_time) #>> '{}'),
        (2, 'symbol', true, (live).symbol, (own).symbol),
        (3, 'source', true, (live).source, (own).source),
        (4, 'base', true, (live).base, (own).base),
        (5, 'quote', true, (live).quote, (own).quote),
        (6, 'kind', true, (live).kind, (own).kind),
        (7, 'price', true, trim_scale((live).price)::text, trim_scale((own).price)::text),
        (8, 'quantity', true, trim_scale((live).quantity)::text, trim_scale((own).quantity)::text),
        (9, 'bid', true, trim_scale((live).bid)::text, trim_scale((own).bid)::text),
        (10, 'ask', true, trim_scale((live).ask)::text, trim_scale((own).ask)::text),
        (11, 'volume_24h', true, trim_scale((live).volume_24h)::text, trim_scale((own).volume_24h)::text),
        (12, 'quote_volume_24h', true,
         trim_scale((live).quote_volume_24h)::text, trim_scale((own).quote_volume_24h)::text),
        (13, 'market_cap', true, trim_scale((live).market_cap)::text, trim_scale((own).market_cap)::text),
        (14, 'change_24h_pct', true, trim_scale((live).change_24h_pct)::text, trim_scale((own).change_24h_pct)::text),
        (15, 'retracted', true, (live).retracted::text, (own).retracted::text),
        (16, 'sequence', true, (live).sequence::text, (own).sequence::text),
        (17, 'trade_id', true, (live).trade_id, (own).trade_id),
        (18, 'source_symbol', true, (live).source_symbol, (own).source_symbol),
        (19, 'event_time_origin', true, (live).event_time_origin, (own).event_time_origin),
        (20, 'received_at', true, to_json((live).received_at) #>> '{}', to_json((own).received_at) #>> '{}'),
        (21, 'payload_id', true, (live).payload_id::text, (own).payload_id::text),
        (22, 'revision', false, (live).revision::text, (own).revision::text),
        (23, 'previous_event_time', false,
         to_json((live).previous_event_time) #>> '{}', to_json((own).previous_event_time) #>> '{}'),
        (24, 'previous_symbol', false, (live).previous_symbol, (own).previous_symbol),
        (25, 'broker_time', false, to_json((live).broker_time) #>> '{}', to_json((own).broker_time) #>> '{}'),
        (26, 'kafka_partition', false, (live).kafka_partition::text, (own).kafka_partition::text),
        (27, 'kafka_offset', false, (live).kafka_offset::text, (own).kafka_offset::text)
    ) as columns (number, name, is_said, live_value, own_value)
    where verdict = 'different' and live_value is distinct from own_value and (is_said or not is_correction)
    union all
    select verdict, event_id, (own).symbol, (own).source, (own).event_time, 0, 'price', null, trim_scale((own).price)::text
    from pairs where verdict = 'only_generation'
    union all
    select verdict, event_id, (live).symbol, (live).source, (live).event_time, 0, 'price',
           trim_scale((live).price)::text, null
    from pairs where verdict = 'only_live'
) as lines (change, event_id, symbol, source, event_time, number, name, live_value, own_value)
order by lines.event_time, lines.event_id, number
limit $5

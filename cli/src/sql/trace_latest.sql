-- The latest price of symbol $1 at source $2.
select event_id, revision, trim_scale(price)::text as price, (extract(epoch from event_time) * 1000000)::bigint as event_us,
       (extract(epoch from updated_at) * 1000000)::bigint as updated_us
from latest_prices
where symbol = $1 and source = $2

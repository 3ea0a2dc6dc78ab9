-- The latest price of each symbol and source; of the symbols in $1 and the sources in $2, of all where that is null. Numbers
-- as text, digit for digit.
select symbol, source, kind,
       trim_scale(price)::text as price,
       trim_scale(bid)::text as bid,
       trim_scale(ask)::text as ask,
       trim_scale(volume_24h)::text as volume_24h,
       trim_scale(quote_volume_24h)::text as quote_volume_24h,
       trim_scale(change_24h_pct)::text as change_24h_pct,
       to_char(event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as event_time,
       extract(epoch from now() - event_time)::float8 as age_seconds,
       event_id, revision
from latest_prices
where ($1::text[] is null or symbol = any ($1))
  and ($2::text[] is null or source = any ($2))
order by symbol, source

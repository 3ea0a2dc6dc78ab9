-- Which of the given symbols and sources ($1, $2) do not show their newest tick. What is older than the horizon ($3) has no tick to
-- be held against.
select pair.symbol, pair.source
from unnest($1::text[], $2::text[]) as pair (symbol, source)
left join latest_prices as latest using (symbol, source)
left join lateral (
    select ticks.*
    from ticks
    where ticks.symbol = pair.symbol and ticks.source = pair.source and not ticks.retracted
      and ticks.event_time >= latest.event_time
    order by event_time desc, sequence desc nulls last, event_id desc
    limit 1
) as newest on true
where latest.symbol is null
   or (newest.event_id is null and latest.event_time >= $3)
   or (newest.event_id is not null
       and (latest.base, latest.quote, latest.kind, latest.price, latest.quantity, latest.bid, latest.ask, latest.volume_24h,
            latest.quote_volume_24h, latest.market_cap, latest.change_24h_pct, latest.event_time, latest.received_at,
            latest.sequence, latest.event_id, latest.revision)
           is distinct from
           (newest.base, newest.quote, newest.kind, newest.price, newest.quantity, newest.bid, newest.ask, newest.volume_24h,
            newest.quote_volume_24h, newest.market_cap, newest.change_24h_pct, newest.event_time, newest.received_at,
            newest.sequence, newest.event_id, newest.revision))
order by pair.symbol, pair.source

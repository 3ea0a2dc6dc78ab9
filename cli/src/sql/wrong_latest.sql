-- Latest prices that are not the newest tick of their symbol and source, and series with candles and without a latest price.
with horizon as (
    select ticks_from::timestamp at time zone 'UTC' as since from retention
),
told as (
    select latest.symbol, latest.source,
           case
               when newest.event_id is null then format('is of %s, which is no tick that stands', latest.event_id)
               when newest.event_id <> latest.event_id or newest.revision <> latest.revision
                   then format('is of %s, the newest tick is %s of %s', latest.event_id, newest.event_id,
                               to_char(newest.event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
               when (latest.price, latest.quantity, latest.bid, latest.ask, latest.volume_24h, latest.quote_volume_24h,
                     latest.market_cap, latest.change_24h_pct, latest.event_time, latest.kind, latest.base, latest.quote)
                   is distinct from
                   (newest.price, newest.quantity, newest.bid, newest.ask, newest.volume_24h, newest.quote_volume_24h,
                    newest.market_cap, newest.change_24h_pct, newest.event_time, newest.kind, newest.base, newest.quote)
                   then format('says other than its tick %s', latest.event_id)
           end as what
    from latest_prices as latest
    left join lateral (
        select *
        from ticks
        where ticks.symbol = latest.symbol and ticks.source = latest.source and not ticks.retracted
          and ticks.event_time >= latest.event_time
        order by event_time desc, sequence desc nulls last, event_id desc
        limit 1
    ) as newest on true
    where latest.event_time >= (select since from horizon)
    union all
    select distinct candles.symbol, candles.source, 'is missing'
    from candles
    where timeframe = '1d' and bucket >= (select since from horizon)
      and not exists (
          select from latest_prices as latest
          where latest.symbol = candles.symbol and latest.source = candles.source
      )
)
select symbol, source, what, count(*) over () as of_all
from told
where what is not null
order by symbol, source
limit $1

-- Views for people and their tools (psql, pgAdmin, Grafana). Numbers lose their trailing zeros here and stay exact.
-- A Grafana panel is one line, such as
--   select time, close, symbol as metric from price_candles where timeframe = '1m' and symbol = 'BTC-USD' and $__timeFilter(time)

-- Bitcoin in Brazilian reais, as the sources that tell volume and market capitalisation have it.
create view bitcoin_precos as
select event_id as id,
       -- One price that has no place in numeric(18,2) must not break the view. Of the others none can: they have 20 digits.
       (case when abs(price) < 1e15 then price end)::numeric(18,2) as price,
       quote_volume_24h::numeric(24,2) as volume_24h,
       market_cap::numeric(24,2) as market_cap,
       event_time as last_updated,
       inserted_at
from ticks
where symbol = 'BTC-BRL'
  and not retracted
  and (quote_volume_24h is not null or market_cap is not null);

comment on view bitcoin_precos is
    'BTC-BRL with 24 h volume and market capitalisation in reais: one row per answer of a source that tells them, rounded to centavos.';
comment on column bitcoin_precos.id is 'event_id of the tick.';
comment on column bitcoin_precos.price is 'One bitcoin in reais; null where it has more than 15 digits.';
comment on column bitcoin_precos.volume_24h is 'Traded in the last 24 hours, in reais; null where the source does not tell it.';
comment on column bitcoin_precos.market_cap is 'In reais; null where the source does not tell it.';
comment on column bitcoin_precos.last_updated is 'The source''s time of the price.';
comment on column bitcoin_precos.inserted_at is 'When the row was written here.';

create view price_candles as
select bucket as time,
       symbol, source, price_basis, timeframe,
       trim_scale(open) as open,
       trim_scale(high) as high,
       trim_scale(low) as low,
       trim_scale(close) as close,
       trim_scale(volume) as volume,
       vwap, average, ticks, complete
from candles;

comment on view price_candles is 'candles for charts: the bucket''s start is "time", as Grafana wants it.';

create view daily_prices as
select (bucket at time zone 'UTC')::date as day,
       symbol, source, price_basis,
       trim_scale(open) as open,
       trim_scale(high) as high,
       trim_scale(low) as low,
       trim_scale(close) as close,
       round(100 * (close - open) / nullif(open, 0), 2) as change_pct,
       trim_scale(volume) as volume,
       complete
from candles
where timeframe = '1d';

comment on view daily_prices is 'One row a UTC day, symbol, source and price basis: open, high, low, close, and the change in percent from open to close.';

create view open_gaps as
select source, symbols, reason, started_at, now() - started_at as open_for, detail
from gaps
where ended_at is null;

comment on view open_gaps is 'What is missing right now: gaps that nobody has closed yet.';

create view source_freshness as
select source,
       max(event_time) as newest_event_time,
       now() - max(event_time) as age,
       max(updated_at) as written_at,
       count(*) as symbols
from latest_prices
group by source;

comment on view source_freshness is 'How old the newest price of each source is, and of how many symbols it has told.';

-- The newest tick of each symbol and source: always the row of ticks that is not retracted and has the highest
-- (event_time, sequence, event_id). The sequence comes before the id because one order can fill against many at one instant, and
-- the last of those fills is the price.

create table latest_prices (
    symbol           text           not null,
    source           text           not null,
    base             text           not null,
    quote            text           not null,
    kind             text           not null,
    price            numeric(38,18) not null,
    quantity         numeric(38,18),
    bid              numeric(38,18),
    ask              numeric(38,18),
    volume_24h       numeric(38,18),
    quote_volume_24h numeric(38,18),
    market_cap       numeric(38,18),
    change_24h_pct   numeric(38,18),
    event_time       timestamptz    not null,
    received_at      timestamptz    not null,
    sequence         bigint,
    event_id         uuid           not null,
    revision         integer        not null,
    updated_at       timestamptz    not null default now(),
    primary key (symbol, source)
) with (fillfactor = 50); -- rewritten with every batch: room on the page keeps that out of the index

comment on table latest_prices is 'The newest tick per symbol and source that was not taken back. Columns mean what they mean in ticks.';
comment on column latest_prices.updated_at is 'When this row was last written.';

create view prices as
select symbol, source, kind,
       trim_scale(price) as price,
       trim_scale(bid) as bid,
       trim_scale(ask) as ask,
       trim_scale(volume_24h) as volume_24h,
       trim_scale(quote_volume_24h) as quote_volume_24h,
       trim_scale(market_cap) as market_cap,
       trim_scale(change_24h_pct) as change_24h_pct,
       event_time,
       now() - event_time as age
from latest_prices;

comment on view prices is 'latest_prices for people: no trailing zeros, and how old each price is.';

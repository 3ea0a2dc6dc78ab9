-- Open, high, low, close of each source, symbol and price basis in 1m, 5m, 1h and 1d: always what `ticks` and `gaps` come to,
-- since whoever writes those keeps the candles in the same transaction.
--
-- Sums are exact, and the first and the last tick are known by (event_time, event_id), so the candle of more ticks is that
-- of the one part merged with that of the other, in any order. The key begins with the symbol: one symbol over a span of
-- time is what people ask for.

create table candles (
    symbol            text           not null,
    source            text           not null,
    price_basis       text           not null,
    timeframe         text           not null check (timeframe in ('1m', '5m', '1h', '1d')),
    bucket            timestamptz    not null,
    open              numeric(38,18) not null,
    high              numeric(38,18) not null,
    low               numeric(38,18) not null,
    close             numeric(38,18) not null,
    -- A sum near 10^20 or beyond is none of a market: null, as in the lake, where DECIMAL(38,18) holds no such sum.
    volume            numeric(38,18) generated always as (
        case when quantity - 2 * coalesce(negative_quantity, 0) < 9e19 then quantity end
    ) stored,
    vwap              double precision generated always as (
        case when quantity > 0 and quantity - 2 * coalesce(negative_quantity, 0) < 9e19
             then quote_volume::double precision / quantity::double precision end
    ) stored,
    quote_volume      numeric(100,36),
    average           double precision generated always as (
        case when ticks > 0 then price_sum::double precision / ticks end
    ) stored,
    ticks             bigint         not null,
    first_event_time  timestamptz    not null,
    last_event_time   timestamptz    not null,
    complete          boolean        not null,
    first_event_id    uuid           not null,
    last_event_id     uuid           not null,
    price_sum         numeric(60,18) not null,
    quantity          numeric(60,18),
    negative_quantity numeric(60,18),
    updated_at        timestamptz    not null default now(),
    primary key (symbol, source, price_basis, timeframe, bucket)
) with (fillfactor = 80); -- the newest are rewritten with every batch: room on the page keeps that out of the index

comment on table candles is
    'Open, high, low, close of the ticks that are not retracted, by source, symbol, price basis, timeframe and start of the bucket (UTC). Candles of a time whose ticks are dropped stay as they were.';
comment on column candles.symbol is 'Canonical pair: BTC-USD.';
comment on column candles.source is 'Who said so.';
comment on column candles.price_basis is 'The ticks'' kind, TRADE or REFERENCE or …: a poll''s reference price and an exchange''s trades never share a candle.';
comment on column candles.timeframe is '1m, 5m, 1h or 1d.';
comment on column candles.bucket is 'Start; the candle is of [bucket, bucket + timeframe).';
comment on column candles.open is 'Price of the first tick by (event_time, event_id), in units of quote.';
comment on column candles.high is 'Highest price.';
comment on column candles.low is 'Lowest price.';
comment on column candles.close is 'Price of the last tick by (event_time, event_id).';
comment on column candles.volume is 'Exact sum of quantity, in units of base; null where no tick had one.';
comment on column candles.vwap is 'quote_volume / volume; null where nothing was traded.';
comment on column candles.quote_volume is 'Exact sum of price × quantity, in units of quote; null where no tick had a quantity.';
comment on column candles.average is 'Mean of the prices, each tick counting once.';
comment on column candles.ticks is 'How many ticks it is made of.';
comment on column candles.first_event_time is 'event_time of the first tick.';
comment on column candles.last_event_time is 'event_time of the last tick.';
comment on column candles.complete is 'False where a gap that concerns the series overlaps the bucket: something may be missing.';
comment on column candles.first_event_id is 'The tick that open is of.';
comment on column candles.last_event_id is 'The tick that close is of.';
comment on column candles.price_sum is 'Exact sum of the prices: average × ticks.';
comment on column candles.quantity is 'Exact sum of quantity, however large.';
comment on column candles.negative_quantity is 'Exact sum of the quantities below zero, which no market has; null where there was none.';
comment on column candles.updated_at is 'When this row was last written.';

create function candle_width(timeframe text) returns interval language sql immutable parallel safe as $$
    select case timeframe
        when '1m' then interval '1 minute'
        when '5m' then interval '5 minutes'
        when '1h' then interval '1 hour'
        when '1d' then interval '24 hours'
    end
$$;

comment on function candle_width is 'How long a bucket of the timeframe is.';

-- A gap of source * is one of every source. A price of basis FX_IMPLIED is computed from what others said: a gap of any
-- source concerns it that names no symbols, or its symbol, or one that it is computed from.
create function gap_concerns(
    gap_source text, gap_symbols text[], of_symbol text, of_source text, of_price_basis text
) returns boolean language sql immutable parallel safe as $$
    select (gap_source = of_source or gap_source = '*' or of_price_basis = 'FX_IMPLIED')
       and (
           gap_symbols = '{}'
           or of_symbol = any (gap_symbols)
           or (of_price_basis = 'FX_IMPLIED'
               and (split_part(of_symbol, '-', 1) || '-USD' = any (gap_symbols)
                    or 'USD-' || split_part(of_symbol, '-', 2) = any (gap_symbols)))
       )
$$;

comment on function gap_concerns is 'Whether a gap of this source and these symbols is one in candles of that series.';

-- The ticks that are here already. Writers wait meanwhile; readers do not.
select pg_advisory_xact_lock(1953063787, 1);

insert into candles (
    symbol, source, price_basis, timeframe, bucket, open, high, low, close, quote_volume, ticks, first_event_time,
    last_event_time, complete, first_event_id, last_event_id, price_sum, quantity, negative_quantity
)
select symbol, source, kind, '1m', date_trunc('minute', event_time, 'UTC') as bucket,
       (array_agg(price order by event_time, event_id))[1], max(price), min(price),
       (array_agg(price order by event_time desc, event_id desc))[1], sum(price * quantity), count(*), min(event_time),
       max(event_time), true, (array_agg(event_id order by event_time, event_id))[1],
       (array_agg(event_id order by event_time desc, event_id desc))[1], sum(price), sum(quantity),
       sum(quantity) filter (where quantity < 0)
from ticks
where not retracted
group by symbol, source, kind, bucket;

insert into candles (
    symbol, source, price_basis, timeframe, bucket, open, high, low, close, quote_volume, ticks, first_event_time,
    last_event_time, complete, first_event_id, last_event_id, price_sum, quantity, negative_quantity
)
select symbol, source, price_basis, wider.timeframe, start.bucket,
       (array_agg(open order by candles.bucket))[1], max(high), min(low),
       (array_agg(close order by candles.bucket desc))[1], sum(quote_volume), sum(ticks), min(first_event_time),
       max(last_event_time), true, (array_agg(first_event_id order by candles.bucket))[1],
       (array_agg(last_event_id order by candles.bucket desc))[1], sum(price_sum), sum(quantity), sum(negative_quantity)
from candles
cross join (values ('5m'), ('1h'), ('1d')) as wider (timeframe)
cross join lateral (
    select case wider.timeframe
        when '5m' then date_trunc('hour', candles.bucket, 'UTC')
            + interval '5 minutes' * floor(extract(minute from candles.bucket at time zone 'UTC') / 5)
        when '1h' then date_trunc('hour', candles.bucket, 'UTC')
        when '1d' then date_trunc('day', candles.bucket, 'UTC')
    end as bucket
) as start
where candles.timeframe = '1m'
group by symbol, source, price_basis, wider.timeframe, start.bucket;

-- Every tick once, in partitions of one UTC day of event_time.
--
-- The primary key starts with event_time, because the partition key must be part of it and because rows arrive nearly in
-- that order: new entries go to the right edge of the index (measured: (event_id, event_time) takes 1.6 times as long).
-- The price of that order is that the key alone cannot forbid one event at two times: moved_ticks does (0002).
--
-- There is no default partition. It would swallow what no day wants, and attaching a day would then scan and lock it.
-- A day is made when its first tick arrives; a tick too far from the time at which the broker took it is a dead letter
-- ("event_time out of range"), so that one wrong clock cannot make a partition for 1970 and one for 2100.

create table ticks (
    event_time        timestamptz    not null,
    received_at       timestamptz    not null,
    broker_time       timestamptz    not null,
    inserted_at       timestamptz    not null default now(),
    kafka_offset      bigint         not null,
    sequence          bigint,
    previous_event_time timestamptz,
    event_id          uuid           not null,
    payload_id        uuid           not null,
    revision          integer        not null,
    kafka_partition   integer        not null,
    retracted         boolean        not null,
    price             numeric(38,18) not null,
    quantity          numeric(38,18),
    bid               numeric(38,18),
    ask               numeric(38,18),
    volume_24h        numeric(38,18),
    quote_volume_24h  numeric(38,18),
    market_cap        numeric(38,18),
    change_24h_pct    numeric(38,18),
    source            text           not null,
    symbol            text           not null,
    base              text           not null,
    quote             text           not null,
    kind              text           not null,
    event_time_origin text           not null,
    source_symbol     text           not null,
    trade_id          text,
    previous_symbol   text,
    primary key (event_time, event_id)
) partition by range (event_time);

-- One symbol over a span of time is what people ask for; the newest tick of a symbol, when the newest is taken back, is
-- what the consumer asks for. It costs about a fifth of the insert rate.
create index ticks_symbol_event_time on ticks (symbol, event_time);

comment on table ticks is
    'One row per event: its highest revision, and among equal ones the first that the broker took. A retracted event keeps its row. Partitioned by UTC day of event_time.';
comment on column ticks.event_time is 'When the price held, by the source''s clock, or when it was received (event_time_origin).';
comment on column ticks.received_at is 'When the producer had the source''s answer.';
comment on column ticks.broker_time is 'When the broker appended the record (LogAppendTime).';
comment on column ticks.inserted_at is 'When this revision was written here. The only column that a replay changes.';
comment on column ticks.kafka_offset is 'Offset of the record in its partition.';
comment on column ticks.sequence is 'The product''s sequence number at the source, if it has one.';
comment on column ticks.previous_event_time is 'Where the revision before stood in time, if a correction moved it.';
comment on column ticks.event_id is 'UUIDv5 of source, id space, source_symbol and the source''s own key: the same event has the same id for ever.';
comment on column ticks.payload_id is 'The payload, as fetched, that this tick was parsed from.';
comment on column ticks.revision is '0 at first; a correction is one higher and replaces.';
comment on column ticks.kafka_partition is 'Partition of market.ticks.v1 that the record came from.';
comment on column ticks.retracted is 'Taken back: the row stays so that nothing vanishes, and latest_prices ignores it.';
comment on column ticks.price is 'In units of quote. The last trade or the source''s reference price; where there is only bid and ask, their exact mid. The source''s digits, never through a float.';
comment on column ticks.quantity is 'In units of base, for a trade.';
comment on column ticks.bid is 'Best bid, in units of quote.';
comment on column ticks.ask is 'Best ask, in units of quote.';
comment on column ticks.volume_24h is 'Last 24 hours, in units of base.';
comment on column ticks.quote_volume_24h is 'Last 24 hours, in units of quote (what some sources call volume).';
comment on column ticks.market_cap is 'In units of quote.';
comment on column ticks.change_24h_pct is 'Percent.';
comment on column ticks.source is 'Who said so: coinbase, coingecko, simulated, ….';
comment on column ticks.symbol is 'Canonical pair: BTC-USD.';
comment on column ticks.base is 'What is priced: BTC.';
comment on column ticks.quote is 'What it is priced in: USD.';
comment on column ticks.kind is 'TRADE, QUOTE, TICKER, REFERENCE or FX.';
comment on column ticks.event_time_origin is 'SOURCE or RECEIVED: whose clock event_time is.';
comment on column ticks.source_symbol is 'The pair as the source writes it.';
comment on column ticks.trade_id is 'The source''s trade id.';
comment on column ticks.previous_symbol is 'Symbol of the revision before, if a correction changed it.';

-- Makes the partition of one UTC day; true when it was not there.
--
-- Made apart and then attached, since CREATE TABLE … PARTITION OF would wait for every query that reads ticks, and hold up
-- every one that comes after. The advisory lock keeps two writers from making the same day at once.
create function ensure_ticks_day(day date) returns boolean language plpgsql as $$
declare
    partition_name text := format('ticks_%s', to_char(day, 'YYYYMMDD'));
    day_starts timestamptz := day::timestamp at time zone 'UTC';
    day_ends timestamptz := (day + 1)::timestamp at time zone 'UTC';
begin
    perform pg_advisory_xact_lock(1953063787, 2);
    if exists (
        select from pg_inherits
        where inhparent = 'ticks'::regclass and inhrelid = to_regclass(partition_name)
    ) then
        return false;
    end if;
    if to_regclass(partition_name) is not null then
        raise exception 'table % exists but is no partition of ticks', partition_name
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'It was detached: rename, drop or attach it.';
    end if;
    execute format('create table %I (like ticks including defaults including constraints)', partition_name);
    execute format('alter table ticks attach partition %I for values from (%L) to (%L)',
                   partition_name, day_starts, day_ends);
    return true;
end
$$;

comment on function ensure_ticks_day is 'Makes the partition of ticks for one UTC day if it is not there.';

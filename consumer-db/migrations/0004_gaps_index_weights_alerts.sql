-- What else the topics tell: gaps, index weights, alerts. A few records a minute, so none is partitioned.

create table gaps (
    id              uuid        primary key,
    source          text        not null,
    symbols         text[]      not null,
    reason          text        not null,
    started_at      timestamptz not null,
    ended_at        timestamptz,
    detail          text        not null,
    broker_time     timestamptz not null,
    kafka_partition integer     not null,
    kafka_offset    bigint      not null,
    inserted_at     timestamptz not null default now(),
    span            tstzrange   not null generated always as (
        tstzrange(least(started_at, ended_at), greatest(started_at, coalesce(ended_at, 'infinity')), '[]')
    ) stored
);

-- Which gaps are near a bucket is asked for with every batch of ticks.
create index gaps_span on gaps using gist (span);
create index gaps_source_started_at on gaps (source, started_at);

comment on table gaps is
    'Each time in which a source may have said something that is not in the log, once. A closing wins over an opening, whatever their order; among closings, and among openings, the last that the broker took.';
comment on column gaps.id is 'The same for the opening and the closing.';
comment on column gaps.source is 'Whose words may be missing; * is every source.';
comment on column gaps.symbols is 'Canonical pairs; empty: all of the source''s.';
comment on column gaps.reason is 'DISCONNECTED, POLL_FAILED, RATE_LIMITED, SEQUENCE, STALE, PRODUCER_DOWN or OVERFLOW.';
comment on column gaps.started_at is 'From when on something may be missing.';
comment on column gaps.ended_at is 'Until when; null while the gap is open.';
comment on column gaps.detail is 'One sentence for a person.';
comment on column gaps.broker_time is 'When the broker appended the record (LogAppendTime).';
comment on column gaps.kafka_partition is 'Partition of market.gaps.v1 that the record came from.';
comment on column gaps.kafka_offset is 'Offset of the record in its partition.';
comment on column gaps.inserted_at is 'When this row was written here. The only column that a replay changes.';
comment on column gaps.span is 'From started_at to ended_at, for the index; an open gap reaches on without end.';

create table index_weights (
    event_id             uuid           primary key,
    revision             integer        not null,
    source               text           not null,
    index_name           text           not null,
    pregao_date          date           not null,
    code                 text           not null,
    type                 text           not null,
    asset                text           not null,
    segment              text,
    part                 numeric(38,18) not null,
    theoretical_quantity numeric(38,18) not null,
    received_at          timestamptz    not null,
    payload_id           uuid           not null,
    retracted            boolean        not null,
    broker_time          timestamptz    not null,
    kafka_partition      integer        not null,
    kafka_offset         bigint         not null,
    inserted_at          timestamptz    not null default now()
);

create index index_weights_day on index_weights (index_name, pregao_date, code);

comment on table index_weights is
    'What each paper weighs in an index on a trading day: one row per event, its highest revision, and among equal ones the first that the broker took. A retracted event keeps its row.';
comment on column index_weights.event_id is 'The same event has the same id for ever.';
comment on column index_weights.revision is '0 at first; a correction is one higher and replaces.';
comment on column index_weights.source is 'Who said so: b3.';
comment on column index_weights.index_name is 'IBOV.';
comment on column index_weights.pregao_date is 'The trading day that the portfolio is of.';
comment on column index_weights.code is 'PETR4.';
comment on column index_weights.type is 'Share class and event marks as received: padded with spaces, nothing cut off.';
comment on column index_weights.asset is 'The company, as the index provider abbreviates it.';
comment on column index_weights.segment is 'Of the index provider''s classification, if told.';
comment on column index_weights.part is 'Percent of the index.';
comment on column index_weights.theoretical_quantity is 'How many of the paper the index stands for.';
comment on column index_weights.received_at is 'When the producer had the source''s answer.';
comment on column index_weights.payload_id is 'The payload, as fetched, that this row was parsed from.';
comment on column index_weights.retracted is 'Taken back: the row stays so that nothing vanishes.';
comment on column index_weights.broker_time is 'When the broker appended the record (LogAppendTime).';
comment on column index_weights.kafka_partition is 'Partition of market.index.v1 that the record came from.';
comment on column index_weights.kafka_offset is 'Offset of the record in its partition.';
comment on column index_weights.inserted_at is 'When this revision was written here. The only column that a replay changes.';

create table alerts (
    alert_id          uuid           primary key,
    rule              text           not null,
    rule_hash         text           not null,
    kind              text           not null,
    state             text           not null,
    severity          text           not null,
    symbol            text,
    source            text,
    price             numeric(38,18),
    reference         numeric(38,18),
    change_pct        numeric(38,18),
    event_time        timestamptz    not null,
    fired_at          timestamptz    not null,
    event_id          uuid,
    trigger_topic     text           not null,
    trigger_partition integer        not null,
    trigger_offset    bigint         not null,
    message           text           not null,
    broker_time       timestamptz    not null,
    kafka_partition   integer        not null,
    kafka_offset      bigint         not null,
    inserted_at       timestamptz    not null default now()
);

create index alerts_fired_at on alerts (fired_at);

comment on table alerts is 'Each alert once, as the broker took it first.';
comment on column alerts.alert_id is 'Made of the rule''s hash and of what triggered it: the same firing has the same id for ever.';
comment on column alerts.rule is 'The rule''s name.';
comment on column alerts.rule_hash is '16 hexadecimal digits of what the rule says; another condition is another hash.';
comment on column alerts.kind is 'MOVING_AVERAGE, THRESHOLD, PERCENT_CHANGE, VOLATILITY, STALE_FEED, OPEN_GAP or OFF_MEDIAN.';
comment on column alerts.state is 'FIRING: the condition came true. RESOLVED: it is true no more.';
comment on column alerts.severity is 'INFO, WARNING or CRITICAL, as the rule has it.';
comment on column alerts.symbol is 'Canonical pair; null where the alert is about a source as a whole.';
comment on column alerts.source is 'Null where the rule looks at all sources together.';
comment on column alerts.price is 'The price that it fired at; null where it is not about a price.';
comment on column alerts.reference is 'What the price was held against: the mean, the threshold, the price before, the median.';
comment on column alerts.change_pct is 'How far price is from reference, percent of reference, signed.';
comment on column alerts.event_time is 'When that happened which it fired on, by the clock of what told it.';
comment on column alerts.fired_at is 'The broker''s time at which it fired.';
comment on column alerts.event_id is 'The tick or the gap that it fired on; null for a timer.';
comment on column alerts.trigger_topic is 'Topic of the record that it fired on; for a timer, of the last record read.';
comment on column alerts.trigger_partition is 'Partition of that record.';
comment on column alerts.trigger_offset is 'Offset of that record.';
comment on column alerts.message is 'One plain sentence for a person.';
comment on column alerts.broker_time is 'When the broker appended the alert (LogAppendTime).';
comment on column alerts.kafka_partition is 'Partition of market.alerts.v1 that the record came from.';
comment on column alerts.kafka_offset is 'Offset of the record in its partition.';
comment on column alerts.inserted_at is 'When this row was written here. The only column that a replay changes.';

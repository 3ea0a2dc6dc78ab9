-- Beside a generation's rows: whose turn it is to exchange them, whether they stand live, what a promotion replaced and what it
-- put in its place. $generation is the generation's schema; what has no schema to its name is live.
-- One after the other: two at once would both find no table, and one of them fail to make it.
select pg_advisory_xact_lock(hashtextextended('$generation', 0));

create table if not exists $generation.exchange (
    only_row    boolean primary key default true check (only_row),
    turn        bigint  not null,
    is_promoted boolean not null default false,
    taken       bigint  not null default 0,
    put         bigint  not null default 0,
    candles     bigint  not null default 0,
    latest      bigint  not null default 0
);
create table if not exists $generation.ticks_before (like ticks);
create table if not exists $generation.ticks_after (like ticks);
create table if not exists $generation.candles_before (like candles);
create table if not exists $generation.candles_after (like candles);
create table if not exists $generation.latest_before (like latest_prices);
create table if not exists $generation.latest_after (like latest_prices);

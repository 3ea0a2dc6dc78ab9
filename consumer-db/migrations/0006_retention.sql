-- From which day on ticks are kept, days made ahead, and who may make a day.
--
-- `consumer-db retain` raises the horizon first, alone (under the advisory lock that corrections take, too), so that no
-- batch that is under way can still write before it; then it detaches and drops the partitions before it, one by one, and
-- may be killed anywhere: what is left is found by the next run. Ticks before the horizon are not written any more, and
-- candles before it are not made again: they would be made of what was left over.

create table retention (
    only_row   boolean primary key default true check (only_row),
    ticks_from date    not null
);

insert into retention (ticks_from) values ('-infinity');

comment on table retention is 'The one row says from which UTC day of event_time on ticks are kept.';
comment on column retention.ticks_from is
    'Raised by `consumer-db retain`, never lowered. Ticks before it are not written, candles before it stay as they are.';

-- As before, and besides: it makes no day before the horizon, and it runs as the owner of ticks, so that whoever may only
-- write rows gets the day they fall on and nothing else. Its search_path is fixed below, since it runs as the owner.
create or replace function ensure_ticks_day(day date) returns boolean language plpgsql security definer as $$
declare
    partition_name text := format('ticks_%s', to_char(day, 'YYYYMMDD'));
    day_starts timestamptz := day::timestamp at time zone 'UTC';
    day_ends timestamptz := (day + 1)::timestamp at time zone 'UTC';
begin
    perform pg_advisory_xact_lock_shared(1953063787, 1);
    if day < (select ticks_from from retention) then
        return false;
    end if;
    perform pg_advisory_xact_lock(1953063787, 2);
    if exists (
        select from pg_inherits
        where inhparent = 'ticks'::regclass and inhrelid = to_regclass(partition_name) and not inhdetachpending
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

do $$
begin
    execute format('alter function ensure_ticks_day(date) set search_path = %I, pg_temp', current_schema());
end
$$;

revoke execute on function ensure_ticks_day(date) from public;

-- The days that ticks may fall on from now until tomorrow, by the server's clock: sources may run a day ahead.
create function ensure_ticks_days_ahead() returns bigint language sql as $$
    select count(*) filter (where ensure_ticks_day((now() at time zone 'UTC')::date + ahead)) from generate_series(0, 2) as ahead
$$;

comment on function ensure_ticks_days_ahead is 'Makes the partitions of ticks for today, tomorrow and the day after; gives how many were not there.';

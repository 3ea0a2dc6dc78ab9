-- ensure_ticks_day runs as the owner of ticks. Its search_path named the schema, and whoever may create functions or
-- operators there could have had it call theirs: an overload whose types fit better is taken before one of pg_catalog.
-- Now no schema but pg_catalog is searched, and tables are named with theirs.

-- A writer reads the schema's version in each transaction, under this lock: none that is under way outlives a migration.
select pg_advisory_xact_lock(1953063787, 1);

do $migration$
begin
    execute format($define$
create or replace function %1$I.ensure_ticks_day(day date) returns boolean language plpgsql security definer
set search_path = pg_catalog, pg_temp as $function$
declare
    partition_name text := format('ticks_%%s', to_char(day, 'YYYYMMDD'));
    partition_id oid;
    day_starts timestamptz := day::timestamp at time zone 'UTC';
    day_ends timestamptz := (day + 1)::timestamp at time zone 'UTC';
begin
    perform pg_advisory_xact_lock_shared(1953063787, 1);
    if day < (select ticks_from from %1$I.retention) then
        return false;
    end if;
    perform pg_advisory_xact_lock(1953063787, 2);
    partition_id := to_regclass(format('%%I.%%I', %1$L, partition_name));
    if exists (
        select from pg_inherits
        where inhparent = %2$L::regclass and inhrelid = partition_id and not inhdetachpending
    ) then
        return false;
    end if;
    if partition_id is not null then
        raise exception 'table %% exists but is no partition of ticks', partition_name
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'It was detached: rename, drop or attach it.';
    end if;
    execute format('create table %%I.%%I (like %%s including defaults including constraints)',
                   %1$L, partition_name, %2$L);
    execute format('alter table %%s attach partition %%I.%%I for values from (%%L) to (%%L)',
                   %2$L, %1$L, partition_name, day_starts, day_ends);
    return true;
end
$function$
    $define$, current_schema(), quote_ident(current_schema()) || '.ticks');
end
$migration$;

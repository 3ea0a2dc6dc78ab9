-- Which staged ticks Postgres refuses: asked when a batch was refused as a whole, and answered in one round trip. What a row
-- can be blamed for is SQLSTATE class 22 and 23; anything else ends the question with that error, as does a missing
-- partition, which is a check violation of no constraint.

-- By the CHECK constraints of ticks, each evaluated over all staged rows at once. What is no constraint of the table itself
-- (of a single partition, a trigger, a further unique index) is found by trying.
create function refused_by_checks() returns table (event_time timestamptz, event_id uuid, reason text)
language plpgsql as $$
declare
    rule record;
begin
    -- Nothing of this transaction is to outlive the server: its COMMIT, which empties the staging table, need not wait for the disk.
    perform set_config('synchronous_commit', 'off', true);
    for rule in
        select conname, pg_get_expr(conbin, conrelid) as expression
        from pg_constraint
        where conrelid = 'ticks'::regclass and contype = 'c'
        order by conname
    loop
        begin
            return query execute format(
                'select event_time, event_id, format($1, to_char(event_time at time zone ''UTC'', ''YYYYMMDD'')) '
                'from pg_temp.ticks_staging '
                'where not (%s) and event_time >= (select ticks_from::timestamp at time zone ''UTC'' from retention)',
                rule.expression
            ) using format('new row for relation "ticks_%%s" violates check constraint "%s" (SQLSTATE 23514, constraint %s)',
                           replace(rule.conname, '%', '%%'), replace(rule.conname, '%', '%%'));
        exception
            -- A value that the expression cannot take, or a column that is not staged: found by trying.
            when data_exception or undefined_column then null;
        end;
    end loop;
end
$$;

comment on function refused_by_checks is 'Staged ticks that a CHECK constraint of the table refuses, with the reason.';

-- By trying: the given rows of the staging table are inserted as one, and halved where they are refused. What is taken stays
-- in the transaction, which the caller rolls back.
create function refused_when_tried(staged tid[]) returns table (event_time timestamptz, event_id uuid, reason text)
language plpgsql as $$
declare
    columns text;
    values_excluded text;
    message text;
    code text;
    refusing text;
begin
    select string_agg(quote_ident(attname), ', ' order by attnum),
           string_agg('excluded.' || quote_ident(attname), ', ' order by attnum)
    into columns, values_excluded
    from pg_attribute
    where attrelid = 'pg_temp.ticks_staging'::regclass and attnum > 0 and not attisdropped;
    begin
        execute format(
            'insert into ticks (%1$s) select %1$s from pg_temp.ticks_staging where ctid = any ($1) order by event_time, event_id '
            'on conflict (event_time, event_id) do update set (%1$s) = row(%2$s) where excluded.revision >= ticks.revision',
            columns, values_excluded
        ) using staged;
        return;
    exception when data_exception or integrity_constraint_violation then
        get stacked diagnostics message = message_text, code = returned_sqlstate, refusing = constraint_name;
        if code = '23514' and refusing = '' then
            raise;
        end if;
    end;
    if cardinality(staged) > 1 then
        return query select * from refused_when_tried(staged[: cardinality(staged) / 2]);
        return query select * from refused_when_tried(staged[cardinality(staged) / 2 + 1 :]);
        return;
    end if;
    if refusing <> '' then
        code := code || ', constraint ' || refusing;
    end if;
    return query
        select tick.event_time, tick.event_id, format('%s (SQLSTATE %s)', message, code)
        from pg_temp.ticks_staging as tick
        where tick.ctid = staged[1];
end
$$;

comment on function refused_when_tried is 'Staged ticks that are refused when they are inserted, with the reason.';

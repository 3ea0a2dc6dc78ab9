-- A missing partition is told as a check violation of no constraint, and so is what a trigger raises by that name: only the
-- first names the table. Taken for the other, one row that a trigger refuses would have stopped the writer for ever.

select pg_advisory_xact_lock(1953063787, 1);

create or replace function refused_when_tried(staged tid[]) returns table (event_time timestamptz, event_id uuid, reason text)
language plpgsql as $$
declare
    columns text;
    values_excluded text;
    message text;
    code text;
    refusing text;
    refused_by text;
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
        get stacked diagnostics message = message_text, code = returned_sqlstate, refusing = constraint_name,
                                refused_by = table_name;
        if code = '23514' and refusing = '' and refused_by = 'ticks' then
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

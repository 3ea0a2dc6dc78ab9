-- A schema that is new belongs to tickstream_migrator from the start, and whoever is a member may migrate it later. One that
-- somebody else has made stays that user's. The schema itself is perhaps its owner's alone. Nothing happens where the roles are missing or may not be used.
do $$
begin
    -- Two that grant on one thing at once fail.
    perform pg_advisory_xact_lock(1953063787, 4);
    if to_regrole('tickstream_reader') is not null
       and not has_schema_privilege('tickstream_reader', current_schema(), 'usage') then
        execute format('grant usage on schema %I to tickstream_writer, tickstream_reader', current_schema());
    end if;
    if exists (select from pg_class where oid = to_regclass('_sqlx_migrations') and relowner <> to_regrole('tickstream_migrator'))
       or not coalesce(pg_has_role(to_regrole('tickstream_migrator'), 'member'), false) then
        return;
    end if;
    if not has_schema_privilege('tickstream_migrator', current_schema(), 'create') then
        execute format('grant usage, create on schema %I to tickstream_migrator', current_schema());
    end if;
    set role tickstream_migrator;
exception
    when insufficient_privilege then null;
end
$$

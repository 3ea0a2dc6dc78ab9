-- What each role may do, and nothing else. Said again after every migration, so that a new table is one line here.
do $$
declare
    schema_name text := (select relnamespace::regnamespace from pg_class where oid = 'ticks'::regclass);
    relation record;
begin
    -- Two that grant on one thing at once fail.
    perform pg_advisory_xact_lock(1953063787, 4);
    for relation in
        select to_regclass(name) as id, writer
        from (values
            ('ticks', 'select, insert, update, delete'),
            ('moved_ticks', 'select, insert, update'),
            ('refused_moves', 'select, insert, update'),
            ('topic_positions', 'select, insert, update'),
            ('latest_prices', 'select, insert, update, delete'),
            ('candles', 'select, insert, update, delete'),
            ('gaps', 'select, insert, update'),
            ('index_weights', 'select, insert, update'),
            ('alerts', 'select, insert, update'),
            ('retention', 'select'),
            ('_sqlx_migrations', 'select'),
            ('prices', null),
            ('bitcoin_precos', null),
            ('price_candles', null),
            ('daily_prices', null),
            ('open_gaps', null),
            ('source_freshness', null)
        ) as rights (name, writer)
        where to_regclass(name) is not null
    loop
        if relation.writer is not null then
            execute format('grant %s on %s to tickstream_writer', relation.writer, relation.id);
        end if;
        execute format('grant select on %s to tickstream_reader', relation.id);
    end loop;
    grant execute on function ensure_ticks_day(date) to tickstream_writer;
    -- Staging is a temporary table. Everyone may make one unless that was taken away, and then only the database's owner can
    -- give it back.
    if not has_database_privilege('tickstream_writer', current_database(), 'temporary') then
        execute format('grant temporary on database %I to tickstream_writer', current_database());
    end if;
    if current_user = 'tickstream_migrator' then
        execute format('alter default privileges in schema %s grant select on tables to tickstream_reader', schema_name);
    end if;
end
$$

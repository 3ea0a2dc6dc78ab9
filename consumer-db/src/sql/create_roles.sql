-- Roles belong to the whole cluster: another database's migration may be making the same ones just now.
do $$
declare
    role_name text;
begin
    foreach role_name in array array['tickstream_migrator', 'tickstream_writer', 'tickstream_reader'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            begin
                execute format('create role %I nologin', role_name);
            exception when duplicate_object or unique_violation then null;
            end;
        end if;
    end loop;
end
$$

insert into limit_keyed select * from limit_source
on conflict (event_time, event_id) do update set revision = excluded.revision
where limit_keyed.revision < excluded.revision;

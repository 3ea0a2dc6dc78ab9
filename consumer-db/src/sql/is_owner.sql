select pg_has_role(relowner, 'usage') from pg_class where oid = 'ticks'::regclass

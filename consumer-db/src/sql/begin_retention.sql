-- The owner of ticks may drop its partitions; one run at a time, for as long as this connection lives. A wait for somebody
-- else's transaction is cut short, and tried again.
select set_config('lock_timeout', '5s', false),
       pg_has_role(relowner, 'usage') as is_owner,
       case when pg_has_role(relowner, 'usage') then pg_try_advisory_lock(1953063787, 3) end as is_alone
from pg_class
where oid = 'ticks'::regclass

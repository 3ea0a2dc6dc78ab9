-- The columns that the table's CHECK constraints look at.
select coalesce(array_agg(distinct attname::text), '{}')
from pg_constraint
join pg_attribute on attrelid = conrelid and attnum = any (conkey)
where conrelid = 'ticks'::regclass and contype = 'c'

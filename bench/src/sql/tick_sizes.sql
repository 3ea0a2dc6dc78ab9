select sum(pg_table_size(inhrelid))::double precision / 1048576 as heap,
       sum(pg_indexes_size(inhrelid))::double precision / 1048576 as indexes
from pg_inherits
where inhparent = 'ticks'::regclass

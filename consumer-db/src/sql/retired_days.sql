-- Partitions of ticks that lie before $1, and the statements that take each away. One that a killed run has detached carries
-- the mark ($2); one that somebody else detached does not, and is left alone. A detachment begun comes first: until it is
-- finished, Postgres begins no other.
select day.relname::text as name,
       pg_size_pretty(pg_total_relation_size(day.oid)) as size,
       case when inhparent is not null and not inhdetachpending
            then format('comment on table %s is %L', day.oid::regclass, $2) end as mark,
       case when inhparent is not null
            then format('alter table ticks detach partition %s %s', day.oid::regclass,
                        case when inhdetachpending then 'finalize' else 'concurrently' end) end as detach,
       format('drop table %s', day.oid::regclass) as remove
from pg_class as day
left join pg_inherits on inhrelid = day.oid and inhparent = 'ticks'::regclass
where day.relkind = 'r'
  and day.relnamespace = (select relnamespace from pg_class where oid = 'ticks'::regclass)
  and day.relname ~ '^ticks_[0-9]{8}$'
  and day.relname < 'ticks_' || to_char($1::date, 'YYYYMMDD')
  and (inhparent is not null or obj_description(day.oid, 'pg_class') = $2)
order by coalesce(inhdetachpending, false) desc, day.relname

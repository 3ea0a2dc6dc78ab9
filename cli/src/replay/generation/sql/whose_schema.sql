-- Whether schema $1 is there, and what it says of itself.
select oid is not null as is_there, obj_description(oid, 'pg_namespace') as comment
from (select to_regnamespace($1)::oid as oid) as found

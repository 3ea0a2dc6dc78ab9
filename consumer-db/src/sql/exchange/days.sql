-- UTC days of the rows of table $rows, from 1970-01-01.
select distinct (event_time at time zone 'UTC')::date - date '1970-01-01' from $generation.$rows

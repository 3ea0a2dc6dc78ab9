-- $1: days since 1970-01-01.
select ensure_ticks_day(date '1970-01-01' + $1)

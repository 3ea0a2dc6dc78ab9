-- The newest $4 gaps that touch [$1, $2] (microseconds from 1970), of source $3 and of every source, of all where that is null.
select id, source, symbols, reason,
       (extract(epoch from started_at) * 1000000)::bigint as started_at_us,
       (extract(epoch from ended_at) * 1000000)::bigint as ended_at_us,
       detail
from gaps
where span && tstzrange(
          timestamptz '1970-01-01 00:00:00+00' + $1::bigint * interval '1 microsecond',
          timestamptz '1970-01-01 00:00:00+00' + $2::bigint * interval '1 microsecond', '[]')
  and ($3::text is null or source in ($3, '*'))
order by started_at desc, id
limit $4

-- The newest $3 alerts that fired before $2 (microseconds from 1970), of symbol $1, of all where that is null.
select alert_id, rule, kind, state, severity, symbol, source,
       trim_scale(price)::text as price,
       trim_scale(reference)::text as reference,
       trim_scale(change_pct)::text as change_pct,
       (extract(epoch from event_time) * 1000000)::bigint as event_time_us,
       (extract(epoch from fired_at) * 1000000)::bigint as fired_at_us,
       message
from alerts
where ($1::text is null or symbol = $1)
  and fired_at < timestamptz '1970-01-01 00:00:00+00' + $2::bigint * interval '1 microsecond'
order by fired_at desc, alert_id
limit $3

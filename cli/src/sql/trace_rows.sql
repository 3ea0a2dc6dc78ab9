-- The rows of event $1 at these times ($2, microseconds from 1970), with the partition that each stands in.
select (extract(epoch from event_time) * 1000000)::bigint as event_us, revision, kafka_partition, kafka_offset, retracted,
       trim_scale(price)::text as price, symbol, (extract(epoch from inserted_at) * 1000000)::bigint as inserted_us,
       tableoid::regclass::text as stands_in
from ticks
where event_id = $1
  and event_time in (select timestamptz 'epoch' + micros * interval '1 microsecond' from unnest($2::bigint[]) as micros)

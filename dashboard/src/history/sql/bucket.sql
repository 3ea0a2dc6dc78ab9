-- The ticks of symbol $1, source $2 and kind $3 in [$4, $5) (microseconds from 1970).
select event_id,
       (extract(epoch from event_time) * 1000000)::bigint as event_time_us,
       trim_scale(price)::text as price,
       trim_scale(quantity)::text as quantity,
       kafka_partition as partition, kafka_offset as "offset"
from ticks
where symbol = $1 and source = $2 and kind = $3 and not retracted
  and event_time >= timestamptz '1970-01-01 00:00:00+00' + $4::bigint * interval '1 microsecond'
  and event_time < timestamptz '1970-01-01 00:00:00+00' + $5::bigint * interval '1 microsecond'

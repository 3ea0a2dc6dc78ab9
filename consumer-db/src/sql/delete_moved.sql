-- Takes away what stands at places that events have left, all of them between $3 and $4. Gives the rows deleted.
delete from ticks
using unnest($1::timestamptz[], $2::uuid[]) as place (event_time, event_id)
join moved_ticks using (event_time, event_id)
where ticks.event_time = place.event_time
  and ticks.event_id = place.event_id
  and ticks.event_time between $3 and $4
  and ticks.revision < moved_ticks.revision
returning ticks.event_time, ticks.event_id, ticks.symbol, ticks.source, ticks.kind, ticks.retracted

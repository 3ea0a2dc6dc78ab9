select event_time, event_id, reason
from refused_when_tried((select array_agg(ctid order by event_time, event_id) from ticks_staging))

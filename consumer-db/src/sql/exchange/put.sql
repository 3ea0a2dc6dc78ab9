insert into ticks select * from $generation.$rows order by event_time, event_id

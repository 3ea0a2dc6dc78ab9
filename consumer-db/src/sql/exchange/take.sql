-- Takes live rows away that are those of $rows.
delete from ticks
using $generation.$rows as gone
where ticks.event_time = gone.event_time and ticks.event_id = gone.event_id

-- Waits until no batch is under way, and raises the horizon to $1 days before today, by the server's clock. Never lowers it.
-- The lock is taken in a statement before: an update that waited for it would not see what was raised meanwhile.
update retention
set ticks_from = greatest(ticks_from, (now() at time zone 'UTC')::date - $1)
returning ticks_from::text

-- Where the horizon would be.
select greatest(ticks_from, (now() at time zone 'UTC')::date - $1)::text from retention

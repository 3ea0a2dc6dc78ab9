select ticks_from::timestamp at time zone 'UTC' from retention

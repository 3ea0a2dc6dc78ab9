-- From when on ticks are kept. Asked after the batch's lock was taken: retention waits for that lock to raise it.
select ticks_from::timestamp at time zone 'UTC' from retention

-- Readers queue behind a migration that waits for its lock: it gives up soon, and comes back.
select set_config('lock_timeout', '2s', false)

-- Between batches, too, nothing is waited for without end.
select set_config('statement_timeout', '120s', false),
       set_config('lock_timeout', '30s', false)

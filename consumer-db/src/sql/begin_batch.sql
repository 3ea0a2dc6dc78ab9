-- First statement of a batch's transaction. A statement that hangs, or a writer that died with its transaction open, must
-- not hold the others for ever. A commit that is answered is on disk, and with the standbys that the server waits for,
-- whatever its default: the offset is committed to Kafka after it. Plans are made for the values at hand, which name the few
-- partitions that are looked at; one for any values would lock each partition there is. $1: whether the batch corrects earlier
-- ticks. Such a batch runs alone: only then does it see each row that it has to delete, and does every later batch see what
-- it moved.
select set_config('statement_timeout', '120s', true),
       set_config('lock_timeout', '30s', true),
       set_config('jit', 'off', true),
       set_config('plan_cache_mode', 'force_custom_plan', true),
       set_config('idle_in_transaction_session_timeout', '60s', true),
       case when current_setting('synchronous_commit') = 'off' then set_config('synchronous_commit', 'on', true) end,
       case when $1 then pg_advisory_xact_lock(1953063787, 1)
            else pg_advisory_xact_lock_shared(1953063787, 1) end

-- First statement of a batch's transaction. A statement that hangs, or a writer that died with its transaction open, must
-- not hold the others for ever. A commit that is answered is on disk, whatever the server's default: the offset is
-- committed to Kafka after it. $1: whether the batch corrects earlier ticks. Such a batch runs alone: only then does it
-- see each row that it has to delete, and does every later batch see what it moved.
select set_config('statement_timeout', '120s', true),
       set_config('lock_timeout', '30s', true),
       set_config('jit', 'off', true),
       set_config('idle_in_transaction_session_timeout', '60s', true),
       case when current_setting('synchronous_commit') = 'off' then set_config('synchronous_commit', 'local', true) end,
       case when $1 then pg_advisory_xact_lock(1953063787, 1)
            else pg_advisory_xact_lock_shared(1953063787, 1) end

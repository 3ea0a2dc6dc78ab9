-- The lock that a batch holds for as long as its transaction.
select pg_advisory_xact_lock(1953063787, 1)

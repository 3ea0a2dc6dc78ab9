-- Until the transaction ends, nobody else makes the schema $1.
select pg_advisory_xact_lock(hashtextextended($1, 0))

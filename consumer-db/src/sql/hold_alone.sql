-- Until this connection ends no other writer's transaction goes on: each takes this lock first, shared or alone. A batch takes
-- a second, a long one some; two minutes are what any statement is given.
select set_config('lock_timeout', '115s', false), pg_advisory_lock(1953063787, 1)

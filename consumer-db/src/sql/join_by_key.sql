-- Whether rows are looked up by their key, one by one: a join of a few places with all of ticks would be planned as a scan.
select set_config('enable_hashjoin', $1, true), set_config('enable_mergejoin', $1, true)

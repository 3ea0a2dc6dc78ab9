-- daily_prices of a symbol, whatever its sources: the key has source and price basis before the timeframe, so a year of a
-- symbol's days would be looked for among all of its minutes. One row a day and series: it costs nothing to keep.

select pg_advisory_xact_lock(1953063787, 1);

create index candles_of_a_day on candles (symbol, bucket) where timeframe = '1d';

-- A day of each source, symbol and price basis.
CREATE EXTERNAL TABLE IF NOT EXISTS gold_daily_stats (
  `source` string,
  `symbol` string,
  `price_basis` string,
  `day` timestamp,
  `open` decimal(38,18),
  `close` decimal(38,18),
  `min` decimal(38,18),
  `max` decimal(38,18),
  `range` decimal(38,18),
  `average` double,
  `ticks` bigint,
  `minutes` bigint,
  `volume` decimal(38,18),
  `simple_return` double,
  `log_return` double,
  `realised_volatility` double,
  `complete` boolean
)
PARTITIONED BY (`dt` string)
STORED AS PARQUET
LOCATION 's3://${bucket}/gold/daily_stats/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2009-01-03,NOW+2DAYS',
  'storage.location.template' = 's3://${bucket}/gold/daily_stats/dt=${dt}/'
)

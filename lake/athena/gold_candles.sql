-- Candles of each source, symbol and price basis.
CREATE EXTERNAL TABLE IF NOT EXISTS gold_candles (
  `source` string,
  `symbol` string,
  `price_basis` string,
  `bucket` timestamp,
  `open` decimal(38,18),
  `high` decimal(38,18),
  `low` decimal(38,18),
  `close` decimal(38,18),
  `volume` decimal(38,18),
  `vwap` double,
  `quote_volume` double,
  `average` double,
  `ticks` bigint,
  `first_event_time` timestamp,
  `last_event_time` timestamp,
  `complete` boolean
)
PARTITIONED BY (`timeframe` string, `dt` string)
STORED AS PARQUET
LOCATION 's3://${bucket}/gold/candles/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.timeframe.type' = 'enum',
  'projection.timeframe.values' = '1m,5m,1h,1d',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2009-01-03,NOW+2DAYS',
  'storage.location.template' = 's3://${bucket}/gold/candles/timeframe=${timeframe}/dt=${dt}/'
)

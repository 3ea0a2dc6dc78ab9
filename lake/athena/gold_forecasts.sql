-- The next 24 hourly closes of each symbol, by the day that is forecast.
CREATE EXTERNAL TABLE IF NOT EXISTS gold_forecasts (
  `symbol` string,
  `origin` timestamp,
  `target_time` timestamp,
  `horizon` int,
  `model` string,
  `forecast` double,
  `lo80` double,
  `hi80` double,
  `lo95` double,
  `hi95` double,
  `beats_naive` boolean,
  `mase` double,
  `mase_naive` double,
  `mase_drift` double,
  `coverage80` double,
  `coverage95` double,
  `backtest_origins` int,
  `history_hours` int,
  `filled_hours` int
)
PARTITIONED BY (`dt` string)
STORED AS PARQUET
LOCATION 's3://${bucket}/gold/forecasts/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2009-01-03,NOW+2DAYS',
  'storage.location.template' = 's3://${bucket}/gold/forecasts/dt=${dt}/'
)

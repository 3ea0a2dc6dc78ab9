-- Exchange rates that prices imply, beside the observed ones.
CREATE EXTERNAL TABLE IF NOT EXISTS gold_cross_rates (
  `base` string,
  `quote_a` string,
  `quote_b` string,
  `bucket` timestamp,
  `price_a` double,
  `price_b` double,
  `implied_rate` double,
  `observed_rate` double,
  `observed_age_h` bigint,
  `premium` double,
  `complete` boolean
)
PARTITIONED BY (`dt` string)
STORED AS PARQUET
LOCATION 's3://${bucket}/gold/cross_rates/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2009-01-03,NOW+2DAYS',
  'storage.location.template' = 's3://${bucket}/gold/cross_rates/dt=${dt}/'
)

-- Each gap once, by the date it started.
CREATE EXTERNAL TABLE IF NOT EXISTS silver_gaps (
  `id` binary,
  `source` string,
  `symbols` array<string>,
  `reason` string,
  `started_at` timestamp,
  `ended_at` timestamp,
  `detail` string,
  `kafka_partition` int,
  `kafka_offset` bigint,
  `broker_time` timestamp
)
PARTITIONED BY (`dt` string)
STORED AS PARQUET
LOCATION 's3://${bucket}/silver/gaps/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2009-01-03,NOW+2DAYS',
  'storage.location.template' = 's3://${bucket}/silver/gaps/dt=${dt}/'
)

-- What the producers said of their sources, every ten seconds each, by the hour of the broker.
CREATE EXTERNAL TABLE IF NOT EXISTS bronze_health (
  `source` string,
  `at` timestamp,
  `last_answer_at` timestamp,
  `state` string,
  `budget_left` bigint,
  `used_today` bigint,
  `used_this_month` bigint,
  `producer` string,
  `kafka_partition` int,
  `kafka_offset` bigint,
  `broker_time` timestamp
)
PARTITIONED BY (`dt` string, `hour` int)
STORED AS PARQUET
LOCATION 's3://${bucket}/bronze/health/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2020-01-01,NOW+2DAYS',
  'projection.hour.type' = 'integer',
  'projection.hour.range' = '0,23',
  'projection.hour.digits' = '2',
  'storage.location.template' = 's3://${bucket}/bronze/health/dt=${dt}/hour=${hour}/'
)

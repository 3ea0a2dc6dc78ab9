-- Gaps as they were told, at opening and at closing, by the hour of the broker.
CREATE EXTERNAL TABLE IF NOT EXISTS bronze_gaps (
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
PARTITIONED BY (`dt` string, `hour` int)
STORED AS PARQUET
LOCATION 's3://${bucket}/bronze/gaps/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2020-01-01,NOW+2DAYS',
  'projection.hour.type' = 'integer',
  'projection.hour.range' = '0,23',
  'projection.hour.digits' = '2',
  'storage.location.template' = 's3://${bucket}/bronze/gaps/dt=${dt}/hour=${hour}/'
)

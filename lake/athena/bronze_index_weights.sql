-- Index portfolios as they came, by the hour of the broker.
CREATE EXTERNAL TABLE IF NOT EXISTS bronze_index_weights (
  `event_id` binary,
  `revision` int,
  `source` string,
  `index_name` string,
  `code` string,
  `asset` string,
  `type` string,
  `segment` string,
  `part` decimal(38,18),
  `theoretical_quantity` decimal(38,18),
  `pregao_date` date,
  `received_at` timestamp,
  `payload_id` binary,
  `retracted` boolean,
  `kafka_partition` int,
  `kafka_offset` bigint,
  `broker_time` timestamp
)
PARTITIONED BY (`dt` string, `hour` int)
STORED AS PARQUET
LOCATION 's3://${bucket}/bronze/index_weights/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2020-01-01,NOW+2DAYS',
  'projection.hour.type' = 'integer',
  'projection.hour.range' = '0,23',
  'projection.hour.digits' = '2',
  'storage.location.template' = 's3://${bucket}/bronze/index_weights/dt=${dt}/hour=${hour}/'
)

-- What the sources answered, byte for byte, in parts, by the hour of the broker.
CREATE EXTERNAL TABLE IF NOT EXISTS bronze_payloads (
  `payload_id` binary,
  `source` string,
  `request` string,
  `status` int,
  `received_at` timestamp,
  `content_encoding` string,
  `part` int,
  `parts` int,
  `content` binary,
  `kafka_partition` int,
  `kafka_offset` bigint,
  `broker_time` timestamp
)
PARTITIONED BY (`dt` string, `hour` int)
STORED AS PARQUET
LOCATION 's3://${bucket}/bronze/payloads/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2020-01-01,NOW+2DAYS',
  'projection.hour.type' = 'integer',
  'projection.hour.range' = '0,23',
  'projection.hour.digits' = '2',
  'storage.location.template' = 's3://${bucket}/bronze/payloads/dt=${dt}/hour=${hour}/'
)

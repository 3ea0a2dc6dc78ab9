-- Alerts as they were published, by the hour of the broker.
CREATE EXTERNAL TABLE IF NOT EXISTS bronze_alerts (
  `alert_id` binary,
  `rule` string,
  `rule_hash` string,
  `kind` string,
  `state` string,
  `severity` string,
  `symbol` string,
  `source` string,
  `price` decimal(38,18),
  `reference` decimal(38,18),
  `change_pct` decimal(38,18),
  `event_time` timestamp,
  `fired_at` timestamp,
  `event_id` binary,
  `trigger_topic` string,
  `trigger_partition` int,
  `trigger_offset` bigint,
  `message` string,
  `kafka_partition` int,
  `kafka_offset` bigint,
  `broker_time` timestamp
)
PARTITIONED BY (`dt` string, `hour` int)
STORED AS PARQUET
LOCATION 's3://${bucket}/bronze/alerts/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2020-01-01,NOW+2DAYS',
  'projection.hour.type' = 'integer',
  'projection.hour.range' = '0,23',
  'projection.hour.digits' = '2',
  'storage.location.template' = 's3://${bucket}/bronze/alerts/dt=${dt}/hour=${hour}/'
)

-- Each event once, at its own time.
CREATE EXTERNAL TABLE IF NOT EXISTS silver_ticks (
  `event_id` binary,
  `revision` int,
  `source` string,
  `symbol` string,
  `base` string,
  `quote` string,
  `kind` string,
  `price` decimal(38,18),
  `quantity` decimal(38,18),
  `bid` decimal(38,18),
  `ask` decimal(38,18),
  `volume_24h` decimal(38,18),
  `quote_volume_24h` decimal(38,18),
  `market_cap` decimal(38,18),
  `change_24h_pct` decimal(38,18),
  `event_time` timestamp,
  `event_time_origin` string,
  `received_at` timestamp,
  `sequence` bigint,
  `trade_id` string,
  `source_symbol` string,
  `payload_id` binary,
  `previous_event_time` timestamp,
  `previous_symbol` string,
  `fx_age_ms` bigint,
  `kafka_partition` int,
  `kafka_offset` bigint,
  `broker_time` timestamp,
  `copies` bigint,
  `revisions` bigint
)
PARTITIONED BY (`dt` string, `hour` int)
STORED AS PARQUET
LOCATION 's3://${bucket}/silver/ticks/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2009-01-03,NOW+2DAYS',
  'projection.hour.type' = 'integer',
  'projection.hour.range' = '0,23',
  'projection.hour.digits' = '2',
  'storage.location.template' = 's3://${bucket}/silver/ticks/dt=${dt}/hour=${hour}/'
)

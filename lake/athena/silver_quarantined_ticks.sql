-- Ticks whose time cannot be true, with the reason, by the broker's date.
CREATE EXTERNAL TABLE IF NOT EXISTS silver_quarantined_ticks (
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
  `retracted` boolean,
  `fx_age_ms` bigint,
  `kafka_partition` int,
  `kafka_offset` bigint,
  `broker_time` timestamp,
  `reason` string
)
PARTITIONED BY (`dt` string)
STORED AS PARQUET
LOCATION 's3://${bucket}/silver/quarantined_ticks/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2020-01-01,NOW+2DAYS',
  'storage.location.template' = 's3://${bucket}/silver/quarantined_ticks/dt=${dt}/'
)

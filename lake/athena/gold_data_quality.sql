-- How well each source was heard.
CREATE EXTERNAL TABLE IF NOT EXISTS gold_data_quality (
  `source` string,
  `day` timestamp,
  `ticks` bigint,
  `symbols` bigint,
  `first_event_time` timestamp,
  `last_event_time` timestamp,
  `longest_silence_s` bigint,
  `freshness_p50_ms` bigint,
  `freshness_p95_ms` bigint,
  `freshness_max_ms` bigint,
  `broker_delay_p50_ms` bigint,
  `broker_delay_p95_ms` bigint,
  `broker_delay_max_ms` bigint,
  `gaps` bigint,
  `open_gaps` bigint,
  `gap_seconds` double,
  `duplicates` bigint,
  `corrections` bigint,
  `late_ticks` bigint,
  `compared_minutes` bigint,
  `off_median_share` double
)
PARTITIONED BY (`dt` string)
STORED AS PARQUET
LOCATION 's3://${bucket}/gold/data_quality/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2009-01-03,NOW+2DAYS',
  'storage.location.template' = 's3://${bucket}/gold/data_quality/dt=${dt}/'
)

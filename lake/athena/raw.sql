-- Every topic's records, bytes verbatim, dead letters included. A topic that is declared later is added to the list of
-- topics; more epochs or partitions than the ranges have are added to them.
CREATE EXTERNAL TABLE IF NOT EXISTS raw (
  `offset` bigint,
  `timestamp` timestamp,
  `key` binary,
  `value` binary,
  `headers` array<struct<key:string,value:binary>>
)
PARTITIONED BY (`topic` string, `epoch` int, `partition` int)
STORED AS PARQUET
LOCATION 's3://${bucket}/raw/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.topic.type' = 'enum',
  'projection.topic.values' = 'market.ticks.v1,market.ticks.v1.dlq,market.gaps.v1,market.gaps.v1.dlq,market.health.v1,market.health.v1.dlq,market.index.v1,market.index.v1.dlq,market.payloads.v1,market.payloads.v1.dlq,market.alerts.v1,market.alerts.v1.dlq',
  'projection.epoch.type' = 'integer',
  'projection.epoch.range' = '0,3',
  'projection.epoch.digits' = '4',
  'projection.partition.type' = 'integer',
  'projection.partition.range' = '0,15',
  'projection.partition.digits' = '5',
  'storage.location.template' = 's3://${bucket}/raw/${topic}/epoch=${epoch}/partition=${partition}/'
)

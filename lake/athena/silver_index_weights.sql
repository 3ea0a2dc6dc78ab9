-- What a paper weighs in an index. The folders below pregao_date, one a paper, are read as one: code is their name.
CREATE EXTERNAL TABLE IF NOT EXISTS silver_index_weights (
  `index_name` string,
  `code` string,
  `asset` string,
  `type` string,
  `segment` string,
  `theoretical_quantity` decimal(38,18),
  `part` decimal(38,18),
  `papers` bigint,
  `run_date` date,
  `days_since_pregao` bigint
)
PARTITIONED BY (`pregao_date` string)
STORED AS PARQUET
LOCATION 's3://${bucket}/silver/index_weights/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.pregao_date.type' = 'date',
  'projection.pregao_date.format' = 'yyyy-MM-dd',
  'projection.pregao_date.range' = '2009-01-03,NOW+2DAYS',
  'storage.location.template' = 's3://${bucket}/silver/index_weights/pregao_date=${pregao_date}/'
)

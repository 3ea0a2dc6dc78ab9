-- The lake as DuckDB views, from a folder or from a bucket. The root comes from a variable:
--
--     duckdb -cmd "SET VARIABLE lake = 's3://my-lake'" -init lake/duckdb/views.sql
--
-- For S3, first: INSTALL httpfs; LOAD httpfs; CREATE SECRET (TYPE s3, PROVIDER credential_chain); another store than AWS
-- adds ENDPOINT, URL_STYLE 'path' and USE_SSL to the secret.
--
-- Partition columns (dt, hour, timeframe, …) are text and prune what is read. A table without any object is an empty view
-- with one column; run this file again once it has some. Times are UTC.
SET TimeZone = 'UTC';

-- What Spark calls them: refiner/sql runs here as it stands.
CREATE OR REPLACE MACRO unix_micros(moment) AS epoch_us(moment);
CREATE OR REPLACE MACRO timestamp_micros(micros) AS make_timestamptz(micros);
CREATE OR REPLACE MACRO cardinality(list) AS len(list);
-- The usual spelling of an id.
CREATE OR REPLACE MACRO id_text(id) AS regexp_replace(
    lower(hex(id)), '(.{8})(.{4})(.{4})(.{4})(.{12})', '\1-\2-\3-\4-\5'
);

-- Every topic's records, bytes verbatim; the topic is a part of the object's path.
CREATE OR REPLACE VIEW raw AS
FROM read_parquet(
    getvariable('lake') || '/raw/*/*/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, filename = 'object', allow_empty = true
);

CREATE OR REPLACE VIEW bronze_ticks AS
FROM read_parquet(
    getvariable('lake') || '/bronze/ticks/*/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW bronze_gaps AS
FROM read_parquet(
    getvariable('lake') || '/bronze/gaps/*/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW bronze_health AS
FROM read_parquet(
    getvariable('lake') || '/bronze/health/*/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW bronze_index_weights AS
FROM read_parquet(
    getvariable('lake') || '/bronze/index_weights/*/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW bronze_payloads AS
FROM read_parquet(
    getvariable('lake') || '/bronze/payloads/*/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW bronze_alerts AS
FROM read_parquet(
    getvariable('lake') || '/bronze/alerts/*/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW silver_ticks AS
FROM read_parquet(
    getvariable('lake') || '/silver/ticks/*/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW silver_quarantined_ticks AS
FROM read_parquet(
    getvariable('lake') || '/silver/quarantined_ticks/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW silver_gaps AS
FROM read_parquet(
    getvariable('lake') || '/silver/gaps/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW silver_index_weights AS
FROM read_parquet(
    getvariable('lake') || '/silver/index_weights/*/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW gold_candles AS
FROM read_parquet(
    getvariable('lake') || '/gold/candles/*/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW gold_daily_stats AS
FROM read_parquet(
    getvariable('lake') || '/gold/daily_stats/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW gold_cross_rates AS
FROM read_parquet(
    getvariable('lake') || '/gold/cross_rates/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW gold_data_quality AS
FROM read_parquet(
    getvariable('lake') || '/gold/data_quality/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

CREATE OR REPLACE VIEW gold_forecasts AS
FROM read_parquet(
    getvariable('lake') || '/gold/forecasts/*/*.parquet',
    hive_partitioning = true, hive_types_autocast = false, union_by_name = true, allow_empty = true
);

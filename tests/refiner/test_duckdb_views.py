"""lake/duckdb/views.sql over the lake's folder: every view has rows, and the macros do what they say."""

import duck
import pyarrow.parquet as parquet
import pytest


@pytest.fixture(scope="module")
def connection(lake):
    with duck.views(lake.root) as connection:
        yield connection


def test_every_view_holds_every_row(lake, connection):
    views = [name for (name,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()]
    assert len(views) == 16
    for view in views:
        layer, _, table = view.partition("_")
        files = lake.files(f"{layer}/{table}" if table else layer)
        rows = sum(parquet.read_metadata(file).num_rows for file in files)
        assert connection.execute(f"SELECT count(*) FROM {view}").fetchone() == (rows,) and rows, view


def test_partition_columns_are_text(connection):
    kinds = dict(connection.execute("SELECT column_name, column_type FROM (DESCRIBE gold_candles)").fetchall())
    assert kinds["timeframe"] == kinds["dt"] == "VARCHAR" and kinds["close"] == "DECIMAL(38,18)"
    hours = connection.execute("SELECT DISTINCT hour FROM silver_ticks").fetchall()
    assert all(len(hour) == 2 for (hour,) in hours)


def test_macros(connection):
    query = "SELECT unix_micros(timestamp_micros(1767225600123456)), timestamp_micros(0)::VARCHAR, cardinality(['a', 'b'])"
    assert connection.execute(query).fetchone() == (1767225600123456, "1970-01-01 00:00:00+00", 2)
    query = "SELECT id_text('\\x00\\x11\\x22\\x33\\x44\\x55\\x66\\x77\\x88\\x99\\xAA\\xBB\\xCC\\xDD\\xEE\\xFF'::BLOB)"
    assert connection.execute(query).fetchone() == ("00112233-4455-6677-8899-aabbccddeeff",)


def test_a_lake_without_gold_has_empty_views(tmp_path):
    with duck.views(tmp_path) as connection:
        assert connection.execute("SELECT count(*) FROM gold_forecasts").fetchone() == (0,)

"""spark/refine.py over one day, into empty output: a gap that began before counts, and a table that has no object is empty."""

import datetime
import sys

import pytest
from lake import table
from pyspark.sql import SparkSession
from spark import QUICK, ROOT

sys.path.insert(0, str(ROOT / "spark"))

import refine  # noqa: E402


@pytest.fixture(scope="module")
def spark(lake):
    lake.spark.wait()
    builder = SparkSession.builder
    for name, value in QUICK.items():
        builder = builder.config(name, value)
    session = builder.config("spark.sql.warehouse.dir", str(lake.folder / "warehouse")).getOrCreate()
    yield refine.session()
    session.stop()


def bronze(lake, name, tables):
    folder = lake.folder / name
    folder.mkdir()
    for of in tables:
        (folder / of).symlink_to(lake.root / "bronze" / of)
    return folder


def today(lake):
    return datetime.datetime.fromtimestamp(lake.market.now / 1e6, datetime.UTC).date()


def made(spark, lake, name, tables):
    folder, day = lake.folder / f"{name}-out", today(lake)
    job = refine.Refiner(spark, str(folder / "silver"), str(folder / "gold"), day, day)
    job.read_bronze(str(bronze(lake, name, tables)))
    job.run()
    rows = table(folder / "gold", "candles")
    return {tuple(row[key] for key in ("timeframe", "source", "symbol", "price_basis", "bucket")): row for row in rows}


def test_a_gap_from_the_day_before_is_in_the_candles_of_one_day(lake, spark):
    found = made(spark, lake, "two-tables", ["ticks", "gaps"])
    wanted = {
        tuple(row[key] for key in ("timeframe", "source", "symbol", "price_basis", "bucket")): row["complete"]
        for row in table(lake.root / "gold", "candles") if row["dt"] == str(today(lake))
    }
    assert {key: row["complete"] for key, row in found.items()} == wanted
    reaching = [key for key in wanted if key[1] == "coinbase" and key[0] == "1m"]
    assert reaching and not wanted[min(reaching, key=lambda key: key[-1])], "from the evening before"


def test_without_gaps_and_index_weights_the_rest_is_made(lake, spark):
    found = made(spark, lake, "one-table", ["ticks"])
    assert found and all(row["complete"] for row in found.values())
    assert not table(lake.folder / "one-table-out" / "silver", "gaps")

"""lake/iceberg/register.py: silver and gold registered where they stand, in a catalog of SQLite, and read back."""

import datetime
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from lake import plain, table
from pyiceberg.catalog import load_catalog

SCRIPT = Path(__file__).resolve().parents[2] / "lake" / "iceberg" / "register.py"
# What pyiceberg does not take, and why: a time outside Python's calendar, which quarantined ticks of the tests have; a list
# whose items are not called element in Parquet.
REFUSED = {"silver.quarantined_ticks": "OverflowError"}
TABLES = 11


def register(folder, root, *arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, "--lake", root, "--warehouse", f"file://{folder}/warehouse",
         "--property", f"uri=sqlite:///{folder}/catalog.db", *arguments], capture_output=True, text=True, timeout=120,
    )


@pytest.fixture(scope="module")
def catalog(lake, tmp_path_factory):
    folder = tmp_path_factory.mktemp("iceberg")
    for _ in range(2):  # the second time over what the first has registered
        result = register(folder, lake.root)
        assert (result.returncode, result.stdout.count("objects")) == (1, TABLES), result.stdout + result.stderr
        assert all(f"{name}: not registered: {reason}" in result.stderr for name, reason in REFUSED.items())
    return load_catalog("tickstream", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")


def name_and_folder(name):
    layer, rest = name.split(".")
    return f"{layer}/candles/timeframe={rest[8:]}" if rest.startswith("candles_") else f"{layer}/{rest}"


def test_every_row_is_read_back(lake, catalog):
    names = [".".join(name) for layer in ("silver", "gold") for name in catalog.list_tables(layer)]
    assert len(names) == TABLES
    for name in names:
        found = plain(catalog.load_table(name).scan().to_arrow())
        wanted = table(lake.root, name_and_folder(name))
        assert wanted, name
        of_paths = wanted[0].keys() - found[0].keys()
        wanted = [{column: value for column, value in row.items() if column not in of_paths} for row in wanted]
        assert sorted(map(repr, found)) == sorted(map(repr, wanted)), name


def test_a_filter_reads_few_objects_and_duckdb_takes_the_rest(lake, catalog):
    ticks = catalog.load_table("silver.ticks")
    newest = max(row["event_time"] for row in table(lake.root, "silver/ticks"))
    hour = datetime.datetime.fromtimestamp(newest // 3_600_000_000 * 3600, datetime.UTC)
    scan = ticks.scan(row_filter=f"event_time >= '{hour.isoformat()}'")
    assert len(list(scan.plan_files())) == 1 < len(list(ticks.scan().plan_files()))
    with duckdb.connect() as connection:
        connection.register("ticks", ticks.scan(selected_fields=("symbol", "price")).to_arrow())
        count, exact = connection.execute("SELECT count(*), typeof(any_value(price)) FROM ticks").fetchone()
    assert (count, exact) == (len(table(lake.root, "silver/ticks")), "DECIMAL(38,18)")


def test_what_is_wrong_is_said(tmp_path):
    result = register(tmp_path, tmp_path, "--property", "nonsense")
    assert result.returncode == 2 and "KEY=VALUE" in result.stderr

"""The same SQL files in DuckDB, over the views and with the macros of lake/duckdb/views.sql."""

from pathlib import Path

import duckdb
from lake import plain

ROOT = Path(__file__).resolve().parents[2]
# In the order in which they are made.
TABLES = {
    "silver/ticks": ["dt", "hour"],
    "silver/quarantined_ticks": ["dt"],
    "silver/gaps": ["dt"],
    "silver/index_weights": ["pregao_date", "action"],
    "gold/candles": ["timeframe", "dt"],
    "gold/daily_stats": ["dt"],
    "gold/cross_rates": ["dt"],
    "gold/data_quality": ["dt"],
}


def sql(name):
    return (ROOT / "refiner" / "sql" / f"{name}.sql").read_text()


def views(root):
    connection = duckdb.connect()
    connection.execute("SET VARIABLE lake = ?", [str(root)])
    connection.execute((ROOT / "lake" / "duckdb" / "views.sql").read_text())
    return connection


def refined(root):
    """Silver and gold, and the hourly closes, as lists of dicts by table."""
    connection = views(root)
    # DuckDB refuses a sum that does not fit, where the others have null.
    connection.execute("CREATE TEMP TABLE sound AS SELECT * FROM bronze_ticks WHERE source <> 'poison'")
    connection.execute("CREATE OR REPLACE VIEW bronze_ticks AS FROM sound")
    connection.execute("CREATE VIEW wanted AS SELECT -4611686018427387904 AS start_us, 4611686018427387904 AS end_us")
    results = {}
    for name, partitions in [*TABLES.items(), ("gold/hourly_closes", [])]:
        arrow = connection.sql(sql(name)).to_arrow_table()
        rows = plain(arrow)
        results[name] = sorted(rows, key=lambda row: [row[column] for column in partitions])
        view = name.replace("/", "_")
        connection.execute(f"DROP VIEW IF EXISTS {view}")
        connection.register("made", arrow)
        connection.execute(f"CREATE TABLE {view} AS FROM made")
        connection.unregister("made")
    connection.close()
    return results

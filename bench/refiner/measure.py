"""Silver and gold of many ticks by the refiner, and by DuckDB with the same SQL over the same files: seconds and their ratio.

The ticks are made here, straight as bronze objects: what is measured begins at bronze. Both write Parquet with zstd, one
object a partition. The refiner's seconds hold what only it does (its process, the store's probe, an HTTP request an object,
the forecasts); what of that is the same for any lake is measured by a rebuild of a day without data, and said beside.
`make bench-refiner TICKS=10000000` builds the binaries and runs this.
"""

import argparse
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "refiner"), str(ROOT / "tests" / "end_to_end")]

from duck import TABLES, sql, views  # noqa: E402

BUCKET = "lake"
ROWS = 100_000
DAYS = 2
FIRST_US = 1_772_409_600_000_000
# One source may have any event only once; three sources and ten symbols trade all day.
TICKS = """
SELECT
    md5(i::VARCHAR)::UUID AS event_id, 0::INTEGER AS revision,
    ['kraken', 'okx', 'coinbase'][1 + i % 3] AS source, symbol, split_part(symbol, '-', 1) AS base, 'USD' AS quote,
    'TRADE' AS kind, (100 * (1 + i % 10) + (i * 7919 % 10007) / 1000)::DECIMAL(38,18) AS price,
    (1 + i * 31 % 997)::DECIMAL(38,18) / 1000 AS quantity,
    {nothing},
    make_timestamptz(event_us) AS event_time, 'SOURCE' AS event_time_origin, make_timestamptz(event_us + 40000) AS received_at,
    i AS sequence, i::VARCHAR AS trade_id, symbol AS source_symbol, md5((i // 50)::VARCHAR)::UUID AS payload_id,
    NULL::TIMESTAMPTZ AS previous_event_time, NULL::VARCHAR AS previous_symbol, false AS retracted,
    NULL::BIGINT AS fx_age_ms, {partition}::INTEGER AS kafka_partition, i AS kafka_offset,
    make_timestamptz(event_us + 60000) AS broker_time
FROM (
    SELECT i, {first} + i * {step} AS event_us, 'SYM' || (i * 13 % 10)::VARCHAR || '-USD' AS symbol
    FROM range({start}, {end}) ticks(i)
)
"""
NOTHING = ", ".join(
    f"NULL::DECIMAL(38,18) AS {name}"
    for name in ["bid", "ask", "volume_24h", "quote_volume_24h", "market_cap", "change_24h_pct"]
)


# Only ticks are made.
NO_GAPS = """CREATE OR REPLACE VIEW silver_gaps AS SELECT NULL::BLOB AS id, ''::VARCHAR AS source, []::VARCHAR[] AS symbols,
    ''::VARCHAR AS reason, NULL::TIMESTAMPTZ AS started_at, NULL::TIMESTAMPTZ AS ended_at, '' AS dt WHERE false"""


def make_bronze(root, ticks):
    connection = duckdb.connect()
    step = DAYS * 86_400_000_000 // ticks
    for number, start in enumerate(range(0, ticks, ROWS)):
        first_us = FIRST_US + start * step
        hour = time.strftime("dt=%Y-%m-%d/hour=%H", time.gmtime(first_us // 1_000_000))
        folder = root / "bronze" / "ticks" / hour
        folder.mkdir(parents=True, exist_ok=True)
        partition = number % 4
        query = TICKS.format(nothing=NOTHING, partition=partition, first=FIRST_US, step=step, start=start,
                             end=min(start + ROWS, ticks))
        path = folder / f"market.ticks.v1+0000+{partition:05}+{start:020}.parquet"
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    connection.close()


def days():
    end = time.gmtime(FIRST_US // 1_000_000 + (DAYS - 1) * 86_400)
    return ["--from", time.strftime("%Y-%m-%d", time.gmtime(FIRST_US // 1_000_000)), "--to", time.strftime("%Y-%m-%d", end)]


def by_refiner(binaries, data):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret",
                   "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}", "S3_BUCKET": BUCKET, "RUST_LOG": "warn"}
    store = subprocess.Popen([binaries / "stack", "s3", "--listen", f"127.0.0.1:{port}", "--data", data], env=environment,
                             stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        taken = {}
        empty = ["--from", "2010-01-01", "--to", "2010-01-01"]
        for name, layer, of in [("nothing", "gold", empty), ("silver", "silver", days()), ("gold", "gold", days())]:
            begun = time.monotonic()
            subprocess.run([binaries / "refiner", "rebuild", "--layer", layer, *of], env=environment, check=True)
            taken[name] = time.monotonic() - begun
        return taken
    finally:
        store.terminate()
        store.wait()


def by_duckdb(root, to):
    """Each table written as Parquet, one file a partition, and read again by the next as the refiner does."""
    connection = views(root)
    connection.execute("CREATE VIEW wanted AS SELECT -4611686018427387904 AS start_us, 4611686018427387904 AS end_us")
    taken = {"silver": 0.0, "gold": 0.0}
    connection.execute(NO_GAPS)
    for name, partitions in TABLES.items():
        if name in ("silver/gaps", "silver/index_weights"):
            continue
        begun = time.monotonic()
        folder = to / name
        folder.mkdir(parents=True)
        connection.execute(f"COPY ({sql(name)}) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, "
                           f"PARTITION_BY ({', '.join(partitions)}), OVERWRITE_OR_IGNORE)")
        view = name.replace("/", "_")
        if any(folder.rglob("*.parquet")):
            connection.execute(f"CREATE OR REPLACE VIEW {view} AS FROM read_parquet('{folder}/**/*.parquet', "
                               "hive_partitioning = true, hive_types_autocast = false)")
        taken[name.split("/")[0]] += time.monotonic() - begun
    connection.close()
    return taken


def count(root, name):
    files = [str(file) for file in (root / name).rglob("*.parquet")]
    return duckdb.sql(f"SELECT count(*) FROM read_parquet({files})").fetchall()[0][0] if files else 0


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binaries", type=Path, required=True)
    arguments.add_argument("--ticks", type=int, default=10_000_000)
    given = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tickstream-bench-"))
    try:
        data = folder / "data"
        root = data / BUCKET
        root.mkdir(parents=True)
        print(f"making {given.ticks:,} ticks of bronze")
        make_bronze(root, given.ticks)
        ours = by_refiner(given.binaries, data)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        theirs = by_duckdb(root, folder / "duckdb")
        for name in ["silver/ticks", "gold/candles", "gold/daily_stats"]:
            mine, other = count(root, name), count(folder / "duckdb", name)
            assert mine == other > 0, f"{name}: {mine} rows by the refiner, {other} by DuckDB"
        for layer in ["silver", "gold"]:
            print(f"{layer:7} refiner {ours[layer]:7.1f} s   DuckDB {theirs[layer]:7.1f} s   {ours[layer] / theirs[layer]:.2f}")
        both, other = ours["silver"] + ours["gold"], sum(theirs.values())
        print(f"both    refiner {both:7.1f} s   DuckDB {other:7.1f} s   {both / other:.2f}")
        print(f"refiner: {given.ticks / both:,.0f} ticks a second, at most {peak} MiB")
        print(f"a run of the refiner with nothing to do: {ours['nothing']:.1f} s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

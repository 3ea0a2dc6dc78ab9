"""The lake of the tests: published, written and refined by the real services, in two waves, so that what is compared has been
made again where the second wave touched it."""

import os
import subprocess
import time
from pathlib import Path

import psycopg
import psycopg.rows
import pyarrow
import pyarrow.parquet as parquet
from confluent_kafka import Producer
from records import Market, encoder
from services import BINARIES, wait_until
from spark import SparkJob

BUCKET = "lake"
TICK_PARTITIONS = 4


class Lake:
    """`root` is the lake's folder, as the store keeps it; `market` is what was published."""

    def __init__(self, world, seed):
        self.world, self.folder = world, world.folder
        self.root = world.data / "s3" / BUCKET
        now = time.time_ns() // 1000
        self.market = market = Market(now, seed)
        self.producer = Producer({"bootstrap.servers": world.environment["KAFKA_BOOTSTRAP_SERVERS"]})
        self.published = {}
        consumer = world.start("consumer-lake", LAKE_MAX_AGE_MS="300", LAKE_MAX_ROWS="400")
        # Of any age, as the refiner takes them.
        database = world.start("consumer-db", DB_OLDEST_EVENT_DAYS="36500")
        gaps, weights = market.gaps(), market.weights()
        self.publish("market.ticks.v1", "price_tick-v2", market.first, "ticks")
        self.publish("market.gaps.v1", "gap-v1", gaps[::2], "gaps")
        self.publish("market.index.v1", "index_weight-v1", weights[:-5], "index_weights")
        self.publish("market.health.v1", "source_health-v2", market.health(), "health")
        self.publish("market.payloads.v1", "payload-v1", market.payloads(), "payloads")
        self.publish("market.alerts.v1", "alert-v1", market.alerts(), "alerts")
        self.refine(consumer)
        self.before_second = self.keys()
        self.publish("market.ticks.v1", "price_tick-v2", market.second, "ticks")
        self.publish("market.gaps.v1", "gap-v1", gaps[1::2], "gaps")
        self.publish("market.index.v1", "index_weight-v1", weights[-5:], "index_weights")
        self.refine(consumer)
        written = sum(self.published[table] for table in ("ticks", "gaps", "index_weights", "alerts"))
        wait_until("all to be in Postgres", lambda: database.metric("tickstream_consumer_records_total") >= written, patience=90)
        self.postgres_candles = candles(world)
        self.spark = SparkJob(self)

    def publish(self, topic, schema, events, table):
        encode = encoder(schema)
        for number, event in enumerate(events):
            place = {"partition": (number * 7 + number // 5) % TICK_PARTITIONS} if table == "ticks" else {}
            self.producer.produce(topic, key=b"k", value=encode(event), **place)
            self.producer.poll(0)
        assert self.producer.flush(30) == 0
        self.published[table] = self.published.get(table, 0) + len(events)

    def refine(self, consumer):
        """Waits until all that was published is in bronze, and runs the refiner over it."""
        wait_until("all to be in bronze", lambda: self.bronze_rows() == self.published, patience=90)
        assert consumer.process.poll() is None, consumer.tail()
        result = subprocess.run(
            [BINARIES / "refiner", "once"], env={**os.environ, **self.world.environment}, capture_output=True, text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]

    def bronze_rows(self):
        rows = {}
        for file in self.files("bronze"):
            table = file.relative_to(self.root / "bronze").parts[0]
            rows[table] = rows.get(table, 0) + parquet.read_metadata(file).num_rows
        return rows

    def files(self, layer):
        return sorted((self.root / layer).rglob("*.parquet"))

    def keys(self):
        return {str(file.relative_to(self.root)) for layer in ("silver", "gold") for file in self.files(layer)}

    def close(self):
        self.spark.close()


def candles(world):
    """Postgres's candles with gold's columns, as dicts; times are microseconds."""
    with psycopg.connect(world.environment["DATABASE_URL"], row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute("""
            select source, symbol, price_basis, (extract(epoch from bucket) * 1000000)::bigint as bucket, open, high, low,
                   close, volume, vwap, quote_volume::float8 as quote_volume, average, ticks,
                   (extract(epoch from first_event_time) * 1000000)::bigint as first_event_time,
                   (extract(epoch from last_event_time) * 1000000)::bigint as last_event_time, complete, timeframe
            from candles
        """).fetchall()


def table(root: Path, name: str):
    """Every row of a table in the order of its objects' paths, with the partition columns as text, as dicts; times are
    microseconds."""
    rows = []
    for file in sorted((root / name).rglob("*.parquet")):
        values = dict(part.split("=", 1) for part in file.relative_to(root / name).parts[:-1])
        rows.extend({**row, **values} for row in plain(parquet.ParquetFile(file).read()))
    return rows


def plain(arrow):
    """Rows as dicts; times are microseconds."""
    columns = {}
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        if pyarrow.types.is_timestamp(column.type):
            assert column.type.unit == "us" and column.type.tz, f"{name} is {column.type}"
            column = column.cast("int64")
        columns[name] = column.to_pylist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

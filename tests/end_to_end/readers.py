"""Reads what the services wrote, with readers that are not ours: librdkafka's Python client and fastavro for topics, DuckDB for
the lake, psycopg for Postgres."""

import io
import json
import time
from pathlib import Path

import duckdb
import fastavro
import psycopg
from confluent_kafka import Consumer, KafkaError, TopicPartition

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"


def topic(environment, name):
    """Every record of a topic: (partition, offset, key, value, headers)."""
    consumer = Consumer({
        "bootstrap.servers": environment["KAFKA_BOOTSTRAP_SERVERS"],
        "group.id": "end-to-end-reader",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    })
    partitions = consumer.list_topics(name, timeout=10).topics[name].partitions
    consumer.assign([TopicPartition(name, partition, 0) for partition in partitions])
    records, ended, deadline = [], set(), time.monotonic() + 60
    while len(ended) < len(partitions):
        assert time.monotonic() < deadline, f"{name} has no end"
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            ended.add(message.partition())
            continue
        headers = {key: value for key, value in message.headers() or []}
        records.append((message.partition(), message.offset(), message.key(), message.value(), headers))
    consumer.close()
    return records


def schemas(record):
    """Each version of a record type's schema, by the fingerprint as its records have it."""
    texts = [json.loads(file.read_text()) for file in SCHEMAS.glob(f"{record}-v*.avsc")]
    canonical = [fastavro.schema.to_parsing_canonical_form(text) for text in texts]
    fingerprints = [bytes.fromhex(fastavro.schema.fingerprint(form, "CRC-64-AVRO")) for form in canonical]
    return dict(zip(fingerprints, map(fastavro.schema.parse_schema, texts), strict=True))


def ticks(environment, name="market.ticks.v1"):
    """The topic's ticks, decoded by fastavro: dicts with exact decimals."""
    versions = schemas("price_tick")
    decoded = []
    for partition, offset, _, value, _ in topic(environment, name):
        assert value[:2] == b"\xc3\x01", f"single-object framing at {partition}:{offset}"
        body = io.BytesIO(value[10:])
        decoded.append(fastavro.schemaless_reader(body, versions[value[2:10]]))
        assert body.read() == b"", f"bytes after the record at {partition}:{offset}"
    return decoded


def bronze(world, table="ticks"):
    """(source, symbol, price as text, event_time micros, event id) of every row in bronze, read by DuckDB from the objects'
    files."""
    files = f"{world.data}/s3/*/bronze/{table}/**/*.parquet"
    return duckdb.sql(
        f"select source, symbol, price::varchar, epoch_us(event_time), event_id::varchar from read_parquet('{files}', hive_partitioning = false)"
    ).fetchall()


def raw_offsets(world, name):
    """(partition, offset) of every raw record of a topic."""
    files = f"{world.data}/s3/*/raw/{name}/**/*.parquet"
    return duckdb.sql(
        f"""select regexp_extract(filename, 'partition=(\\d+)', 1)::int, "offset"
            from read_parquet('{files}', filename = true, hive_partitioning = false)"""
    ).fetchall()


def postgres(world, query):
    with psycopg.connect(world.environment["DATABASE_URL"]) as connection:
        return connection.execute(query).fetchall()

"""The chain storm: three lake writers and a guest, twelve partitions, a store that drops answers, writes late, refuses and
lies; kills, stops, joins and leaves. Afterwards, read by DuckDB and counted by Kafka's own tools: each (partition, offset)
exactly once, nothing missing, nothing twice, no raw object ever changed. Short by default; `make storm` is the whole."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import kafka_tools
import records
from chaos import Chaos, Member
from confluent_kafka import Consumer, TopicPartition
from lake_files import LakeFiles, Watch
from services import free_port, wait_until

RECORDS = int(os.environ.get("RECORDS", "300000"))
# How long the records take to come; the kills and stops fall into this time.
SECONDS = int(os.environ.get("SECONDS", "30"))
KILLS = int(os.environ.get("KILLS", "12"))
STOPS = int(os.environ.get("STOPS", "3"))
HERE = Path(__file__).resolve().parent
GROUP, PREFIX = "storm", "storm"


def program(name, *arguments):
    return subprocess.Popen([sys.executable, HERE / name, *map(str, arguments)], env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})


def garbage_letters(world):
    """(partition, offset) of the dead letters, each once: a letter may be sent twice."""
    consumer = Consumer({"bootstrap.servers": world.environment["KAFKA_BOOTSTRAP_SERVERS"], "group.id": "storm-letters",
                         "enable.auto.commit": False})
    name = f"{records.TOPIC}.dlq"
    _, end = consumer.get_watermark_offsets(TopicPartition(name, 0), timeout=20)
    consumer.assign([TopicPartition(name, 0, 0)])
    letters, read = set(), 0
    while read < end:
        for message in consumer.consume(1000, timeout=10):
            headers = dict(message.headers())
            letters.add((int(headers["tickstream-dlq-partition"]), int(headers["tickstream-dlq-offset"])))
            read += 1
    consumer.close()
    return letters, read


def test_storm(world):
    seed = int(os.environ.get("SEED", time.time()))
    print(f"seed {seed}: {RECORDS} records in {SECONDS} s, {KILLS} kills, {STOPS} stops, as many leaves and joins")
    files, ledger, port = LakeFiles(world, PREFIX), world.folder / "ledger.json", free_port()
    upstream = world.environment["S3_ENDPOINT_URL"].removeprefix("http://").rstrip("/")
    settings = {
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}", "S3_PREFIX": PREFIX, "LAKE_GROUP": GROUP, "LAKE_TOPICS": records.TOPIC,
        "LAKE_MAX_AGE_MS": "400", "LAKE_MAX_ROWS": "1000", "RUST_LOG": "info",
    }
    # The third keeps its place in the group over a restart.
    members = [Member(world, number, settings, static=number == 3) for number in (1, 2, 3, 4)]
    chaos = Chaos(members[:3], members[3], random.Random(seed).random())
    chaos.plan(SECONDS, kill=KILLS, stop=STOPS, leave=STOPS, join=STOPS)
    watch = Watch(files)
    proxy = program("fault_proxy.py", port, upstream, ledger, seed)
    flood = None
    try:
        watch.start()
        wait_until("the proxy", lambda: listens(port))
        for member in chaos.regulars:
            member.start()
        flood = program("records.py", world.environment["KAFKA_BOOTSTRAP_SERVERS"], RECORDS, max(1, RECORDS // SECONDS))
        took = chaos.run(lambda: flood.poll() is None)
        assert flood.returncode == 0
        proxy.send_signal(signal.SIGUSR1)
        chaos.calm()
        ends = kafka_tools.log_ends(world, records.TOPIC)
        wait_until("everything to be committed", lambda: all_committed(world, chaos, ends), patience=600)
        for member in chaos.regulars:
            member.service.ready()
        for member in members:
            member.service.stop()
        proxy.send_signal(signal.SIGTERM)
        assert proxy.wait(timeout=60) == 0
    finally:
        for process in (proxy, flood, *(member.service.process for member in members)):
            if process is not None and process.poll() is None:
                process.kill()
        watch.stop()
    print(f"{took:.0f} s of storm: {dict(chaos.done)}; {dict(told(members))}")
    look_at_raw(files, ends)
    look_at_bronze(files, world, ends)
    look_at_objects(files, watch, json.loads(ledger.read_text()))


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def all_committed(world, chaos, ends):
    chaos.check()
    committed = kafka_tools.committed(world, GROUP, records.TOPIC, records.PARTITIONS)
    return committed == {partition: end for partition, (_, end) in ends.items()}


def told(members):
    """What the writers' logs tell of."""
    logs = [member.service.log.read_text(errors="replace") for member in members if member.service.log.exists()]
    lines = {"assignments": r" assigned\b", "met another writer's object": "another writer was first", "outages": 'not ready part="sink"'}
    return {what: sum(len(re.findall(line, log)) for log in logs) for what, line in lines.items()}


def look_at_raw(files, ends):
    """Each offset of the log once, and at each the record that was sent there."""
    assert {partition: start for partition, (start, _) in ends.items()} == dict.fromkeys(range(records.PARTITIONS), 0)
    assert sum(end for _, end in ends.values()) == RECORDS
    rows = files.rows(
        """select p, count(*), count(distinct o), min(o), max(o) + 1, count(*) filter (where id <> wanted)
           from (select regexp_extract(filename, 'partition=(\\d+)', 1)::bigint p, "offset" o,
                        lower(substr(hex("value"), 21, 32)) id, printf('%032x', (p << 40) + o) wanted from {raw})
           group by p order by p"""
    )
    found = {p: (count, distinct, first, after, strange) for p, count, distinct, first, after, strange in rows}
    missing = sum(end - found.get(p, (0, 0))[1] for p, (_, end) in ends.items())
    twice = sum(count - distinct for count, distinct, *_ in found.values())
    print(f"raw: {sum(row[0] for row in found.values())} records in {len(found)} partitions, {missing} missing, {twice} twice")
    assert found == {p: (end, end, 0, end, 0) for p, (_, end) in ends.items()}


def look_at_bronze(files, world, ends):
    """Every record is in bronze, or named there as one that does not decode: once, and never both."""
    [(count, distinct, strange)] = files.rows(
        """select count(*), count(distinct (kafka_partition, kafka_offset)),
                  count(*) filter (where lower(hex(event_id)) <> printf('%032x', (kafka_partition::bigint << 40) + kafka_offset))
           from {bronze}"""
    )
    named = files.left_out()
    garbage = {(p, o) for p, (_, end) in ends.items() for o in range(end) if records.is_garbage(p, o)}
    letters, sent = garbage_letters(world)
    print(f"bronze: {count} rows, {len(named)} left out and named; {len(letters)} dead letters ({sent} sent)")
    assert (count, distinct, strange) == (RECORDS - len(garbage), RECORDS - len(garbage), 0)
    assert Counter(named) == Counter(garbage)
    assert letters == garbage


def look_at_objects(files, watch, ledger):
    """What the store answered all along: each raw object was written once and had one ETag, the MD5 of what is there now."""
    now = {files.key(path): print_[0] for path, print_ in files.fingerprints("raw").items()}
    raw = {key: etags for key, etags in ledger["etags"].items() if f"{PREFIX}/raw/" in key and key.endswith(".parquet")}
    writes = Counter(ledger["written"].get(key) for key in now)
    print(f"objects: {len(now)} raw, {len(files.objects('bronze'))} bronze; raw ones seen {watch.looks} times, {len(watch.changed)} changed")
    print(f"store: answers {ledger['answers']}, faults {ledger['faults']}")
    assert watch.changed == []
    assert writes == Counter({1: len(now)})
    assert raw == {key: [f'"{md5}"'] for key, md5 in now.items()}

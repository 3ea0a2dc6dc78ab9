"""SIGKILL of each consumer at random moments under load: afterwards topic = lake = database. Few kills by default, more with
KILLS=n."""

import os
import random
import threading
import time
from collections import Counter

import readers
from services import wait_until

KILLS = int(os.environ.get("KILLS", "4"))
RATE = 3000
# A killed member is missed after so long: the shortest that brokers allow.
QUICK = {"KAFKA_PROPERTIES": "session.timeout.ms=6000,heartbeat.interval.ms=1000"}


def kill_often(service, kills, seed, failures):
    """Kills and starts anew, at moments from start-up to the middle of a write."""
    chance = random.Random(seed)
    try:
        for _ in range(kills):
            time.sleep(chance.choice([chance.uniform(0.0, 1.5), chance.uniform(6.0, 9.0)]))
            service.kill()
            service.start()
    except BaseException as failure:
        failures.append(failure)
        raise


def test_kills_under_load(world):
    seed = int(os.environ.get("SEED", time.time()))
    print(f"seed {seed}: {KILLS} kills of each consumer")
    db = world.start("consumer-db", **QUICK).ready()
    lake = world.start("consumer-lake", LAKE_MAX_AGE_MS="400", LAKE_MAX_ROWS="2000", **QUICK).ready()
    producer = world.start("producer", PRODUCER_SOURCES="simulated", SIMULATED_RATE=str(RATE),
                           PRODUCER_SPILL_DIR=str(world.folder / "spill")).ready()
    failures = []
    threads = [threading.Thread(target=kill_often, args=(service, KILLS, seed + i, failures))
               for i, service in enumerate((db, lake))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    acknowledged = producer.metric("tickstream_producer_acknowledged_total")
    assert acknowledged > 1000 * KILLS, "there was load all the while"
    producer.stop()
    for service in (db, lake):
        service.ready()
        wait_until(f"{service.name} to catch up\n{service.tail()}",
                   lambda: service.caught_up(), patience=180)
        service.stop()
    totals = world.audit()
    # Again, by readers that are not ours.
    delivered = Counter((partition, offset) for partition, offset, *_ in readers.topic(world.environment, "market.ticks.v1"))
    in_raw = Counter(readers.raw_offsets(world, "market.ticks.v1"))
    assert in_raw == delivered and max(in_raw.values()) == 1
    rows = readers.postgres(world, "select count(*), count(distinct event_id) from ticks")[0]
    assert rows == (len(delivered), len(delivered))
    print(f"{2 * KILLS} kills, {len(delivered)} ticks: each once in the lake and once in Postgres; audit {totals}")

"""A garbage record among a thousand: 999 rows, one dead letter, nothing stops."""

import json

import readers
from confluent_kafka import Producer
from services import wait_until


def test_garbage_among_a_thousand(world):
    db = world.start("consumer-db").ready()
    lake = world.start("consumer-lake", LAKE_MAX_AGE_MS="300").ready()
    producer = world.start("producer", PRODUCER_SOURCES="simulated", SIMULATED_RATE="2000", SIMULATED_TRADES="500",
                           PRODUCER_SPILL_DIR=str(world.folder / "spill"))
    wait_until("500 rows", lambda: readers.postgres(world, "select count(*) from ticks")[0][0] == 500)
    assert producer.process.wait(timeout=30) == 0, "a producer whose sources have ended ends"

    by_hand = Producer({"bootstrap.servers": world.environment["KAFKA_BOOTSTRAP_SERVERS"], "message.max.bytes": 20_000_000})
    by_hand.produce("market.ticks.v1", key=b"BTC-USD", value=b"\x00garbage", headers={"origin": b"by hand"})
    by_hand.flush()
    del by_hand
    more = world.start("producer", PRODUCER_SOURCES="simulated", SIMULATED_RATE="2000", SIMULATED_TRADES="499",
                       SIMULATED_SEED="2", PRODUCER_SPILL_DIR=str(world.folder / "spill"))
    wait_until("999 rows", lambda: readers.postgres(world, "select count(*) from ticks")[0][0] == 999)
    assert more.process.wait(timeout=30) == 0
    world.services = [db, lake]

    wait_until("both groups to catch up", lambda: lake.caught_up() and db.caught_up())
    assert db.get("/readyz") and lake.get("/readyz"), "a bad record makes nobody unready"
    letters = readers.topic(world.environment, "market.ticks.v1.dlq")
    assert {headers["tickstream-dlq-group"] for *_, headers in letters} == {b"consumer-db", b"consumer-lake"}
    for _, _, key, value, headers in letters:
        assert (key, value) == (b"BTC-USD", b"\x00garbage")
        assert headers["origin"] == b"by hand" and headers["tickstream-dlq-reason"]
    assert len({(h["tickstream-dlq-partition"], h["tickstream-dlq-offset"]) for *_, h in letters}) == 1
    assert len(readers.bronze(world)) == 999
    totals = world.audit()
    assert (totals["delivered"] >= 1000, totals["postgres_rows"]) == (True, 999), json.dumps(totals)

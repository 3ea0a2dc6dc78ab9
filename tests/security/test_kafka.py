"""Each service works as its own user, with the ACLs that docs/security.md gives it, and is refused everywhere else."""

import time

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from broker import TOKEN_LIVES
from certificates import Authority
from conftest import wait
from documented import may, users

TOPICS = ["market.ticks.v1", "market.gaps.v1", "market.health.v1", "market.payloads.v1", "market.alerts.v1", "market.alert_state.v1",
          "market.deliveries.v1", "market.redrives.v1", "market.ticks.v1.dlq"]
CHANNELS = """
[[channel]]
name = "nowhere"
type = "webhook"
url = "http://127.0.0.1:1/"
"""


@pytest.mark.parametrize("way", ["scram", "tls", "token"])
def test_each_service_works_as_its_own_user(world, tmp_path, way):
    world.way = way
    channels = tmp_path / "channels.toml"
    channels.write_text(CHANNELS)
    producer = world.run_as("producer", "producer", PRODUCER_SOURCES="simulated", SIMULATED_RATE="200", PRODUCER_SPILL_DIR=str(tmp_path / "spill"))
    consumers = [world.run_as(name, name) for name in ("consumer-lake", "consumer-db")]
    alerts = world.run_as("consumer-alerts", "consumer-alerts", "run")
    dashboard = world.run_as("dashboard", "dashboard", DASHBOARD_ADDR="127.0.0.1:0", DATABASE_URL="")
    services = [producer, *consumers, alerts, dashboard]
    for service in services:
        service.ready()
    notifier = world.run_as("notifier", "consumer-alerts", "notify", ALERT_CHANNELS=str(channels))
    wait("the notifier to read the alerts", lambda: 'group="notifier-nowhere"' in (notifier.get("/metrics") or ""))
    wait("prices at the broker", lambda: producer.metric("tickstream_producer_acknowledged_total") > 1000)
    wait("prices at the page", lambda: dashboard.metric("tickstream_dashboard_records_total") > 1000)
    if way == "token":
        # The first ones have ended: nobody is let go on with them.
        time.sleep(2 * TOKEN_LIVES)
        before = dashboard.metric("tickstream_dashboard_records_total")
        wait("prices at the page, by later tokens", lambda: dashboard.metric("tickstream_dashboard_records_total") > before + 100)
    producer.stop()
    for consumer in consumers:
        wait(f"{consumer.name} to have written all\n{consumer.tail()}", consumer.caught_up)
    wait("the alerts' judge to have read all", alerts.caught_up)
    for service in [*services, notifier]:
        service.stop()
        text = service.log.read_text()
        assert "uthorization" not in text and "UTHORIZATION" not in text, f"{service.name} was refused something\n{text}"
        assert not any(secret in text for secret in secrets(world)), service.name
        assert "eyJ" not in text, f"{service.name} shows a token"
    totals = world.audit()
    assert totals["differences"] == 0
    lines = world.tickstream("groups").stdout
    assert "consumer-db" in lines and "consumer-alerts" in lines


def secrets(world):
    return [world.broker.settings(user, "scram")["sasl.password"] for user in users()]


def written(world, user, topic):
    """Whether the broker takes a record of `user` for `topic`."""
    answers = []
    producer = Producer({**world.broker.settings(user, "scram"), "acks": "all", "log_level": 0, "message.timeout.ms": 300000})
    producer.produce(topic, b"x", on_delivery=lambda error, _: answers.append(error))
    producer.flush(300)
    error = answers[0]
    assert error is None or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, error
    return error is None


def read(world, user, topic):
    """Whether the broker gives `user` records of `topic`."""
    settings = {**world.broker.settings(user, "scram"), "group.id": "nobody", "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 0}
    consumer = Consumer(settings)
    try:
        known = consumer.list_topics(topic, timeout=300).topics[topic].error
        if known and known.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return False
        consumer.assign([TopicPartition(topic, 0, 0)])
        while True:
            message = consumer.poll(300)
            assert message is not None, f"{user} {topic}: no answer"
            error = message.error()
            # That it is in no group is not what is asked.
            if error is None or error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
                break
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return True
        assert error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._AUTO_OFFSET_RESET), error
        return error.code() == KafkaError._AUTO_OFFSET_RESET
    finally:
        consumer.close()


def test_nobody_writes_or_reads_where_the_page_does_not_say_so(world):
    found = {}
    for user in users():
        for topic in TOPICS:
            # What is allowed is tried by the services; a record of no form must not get in.
            if not may(user, topic, "WRITE"):
                found[user, topic, "written"] = written(world, user, topic)
            if not may(user, topic, "READ"):
                found[user, topic, "read"] = read(world, user, topic)
    assert len(found) > 60
    assert [what for what, happened in found.items() if happened] == []
    assert read(world, "dashboard", "market.ticks.v1"), "the check itself sees who may"


def test_a_service_that_is_somebody_else_waits_and_says_why(world):
    world.way = "scram"
    # It may read the topics, and is not in the group.
    intruder = world.run_as("consumer-lake", "consumer-db")
    wait("it to be refused", lambda: "Group authorization failed" in intruder.log.read_text())
    assert intruder.get("/readyz") is None, "it says that it is ready"
    assert intruder.metric("tickstream_consumer_dead_letters_total") == 0
    intruder.stop()
    # Nor may it know of topics that it has no business with.
    stranger = world.run_as("dashboard", "consumer-db")
    assert stranger.process.wait(timeout=300) == 2
    assert "market.index.v1 does not exist" in stranger.tail()


@pytest.mark.parametrize("wrong", ["password", "authority", "plaintext", "no certificate", "another's certificate authority"])
def test_who_does_not_prove_who_they_are_is_kept_out(world, tmp_path, wrong):
    stranger = Authority(tmp_path / "stranger", "another authority")
    kafka = {
        "password": lambda: world.kafka("operator", "scram", **{"sasl.password": "guessed"}),
        # The broker cannot prove who it is.
        "authority": lambda: world.kafka("operator", "scram", **{"ssl.ca.location": stranger.file}),
        "plaintext": lambda: {**world.kafka("operator", "scram"), "KAFKA_PROPERTIES": "security.protocol=PLAINTEXT"},
        "no certificate": lambda: {**world.kafka("operator", "tls"), "KAFKA_PROPERTIES": f"security.protocol=SSL,ssl.ca.location={world.authority.file}"},
        "another's certificate authority": lambda: world.kafka(
            "operator", "tls", **dict(zip(["ssl.certificate.location", "ssl.key.location"], stranger.issue("operator")[:2]))
        ),
    }[wrong]()
    result = world.tickstream("topics", "list", check=False, **kafka)
    assert result.returncode == 2, f"{wrong}: {result.stdout}{result.stderr}"
    assert not any(secret in result.stderr for secret in secrets(world))


def test_a_password_may_stand_in_a_file(world, tmp_path):
    file = tmp_path / "password"
    file.write_text(world.broker.settings("operator", "scram")["sasl.password"] + "\n")
    kafka = world.kafka("operator", "scram")
    named = ",".join(part for part in kafka["KAFKA_PROPERTIES"].split(",") if not part.startswith("sasl.password="))
    listed = world.tickstream("topics", "list", **{**kafka, "KAFKA_PROPERTIES": f"{named},sasl.password.file={file}"})
    assert "market.ticks.v1" in listed.stdout
    missing = world.tickstream("topics", "list", check=False, **{**kafka, "KAFKA_PROPERTIES": f"{named},sasl.password.file={file}.gone"})
    assert missing.returncode == 2 and "sasl.password.file" in missing.stderr


def test_a_certificate_is_for_one_host(world):
    kafka = world.kafka("operator", "scram")
    by_name = kafka["KAFKA_BOOTSTRAP_SERVERS"].replace("127.0.0.1", "localhost")
    result = world.tickstream("topics", "list", check=False, **{**kafka, "KAFKA_BOOTSTRAP_SERVERS": by_name})
    assert result.returncode == 2, result.stdout

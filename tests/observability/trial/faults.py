"""The fault of each alert rule, as it is met outside: begun, and taken away again."""

import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from fleet import RULES
from services import wait_until
from textfile import Textfile

TICKS, PAYLOADS = "market.ticks.v1", "market.payloads.v1"
ANY = None


@dataclass
class Fault:
    what: str
    # Each alert's labels without its severity; ANY is any value.
    alerts: dict[str, dict[str, str | None]]
    begin: Callable[[], None]
    end: Callable[[], None]
    # Its alert stands for long after it; what comes next does not wait for that.
    lasts: bool = False


class Again:
    """Does something again and again, on a thread of its own, between begin and end."""

    def __init__(self, once):
        self.once, self.over = once, threading.Event()

    def begin(self):
        self.over.clear()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.over.is_set():
            self.once()

    def end(self):
        self.over.set()
        self.thread.join(60)


def stutter(send, stopped, runs):
    """Something that stands still for a while, again and again."""
    def once():
        send(signal.SIGSTOP)
        time.sleep(stopped)
        send(signal.SIGCONT)
        time.sleep(runs)

    return Again(once)


def sources_and_people(fleet):
    outside, folder = fleet.outside, fleet.folder
    servers = fleet.world.environment["KAFKA_BOOTSTRAP_SERVERS"]

    def answers(**changed):
        return lambda: [setattr(outside, name, value) for name, value in changed.items()]

    def key(status):
        def change():
            outside.coinmarketcap = status
            fleet.keyed.begin_anew()
        return change

    def hook(channel, status):
        return lambda: outside.hooks.update({channel: status})

    def rules(text):
        return lambda: (folder / "rules.toml").write_text(text)

    def disagree():
        fleet.other = fleet.program(
            "producer-other", "producer", PRODUCER_SOURCES="awesomeapi,coinmarketcap", PRODUCER_GROUP="rates",
            AWESOMEAPI_BASE_URL=outside.url, AWESOMEAPI_SYMBOLS="USD-BRL", COINMARKETCAP_BASE_URL=outside.url,
            COINMARKETCAP_API_KEY="a-key", COINMARKETCAP_SYMBOLS="ETH-USD", PRODUCER_SPILL_DIR=str(folder / "spill-other")).start()

    def agree():
        fleet.other.stop()

    def more_symbols():
        fleet.program(
            "producer-more", "producer", PRODUCER_SOURCES="simulated", SIMULATED_TRADES="200", SIMULATED_SEED="9",
            SIMULATED_SYMBOLS="BTC-USD,ETH-USD,SOL-USD,BTC-BRL", PRODUCER_SPILL_DIR=str(folder / "spill-more")).start()

    def poison():
        by_hand = Producer({"bootstrap.servers": servers, "log_level": 0})
        by_hand.produce(TICKS, key=b"BTC-USD", value=b"\x00garbage")
        assert by_hand.flush(30) == 0

    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})

    def most_bytes(of_topic):
        entry = ConfigEntry("max.message.bytes", str(of_topic), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, PAYLOADS, incremental_configs=[entry])
        [changed] = admin.incremental_alter_configs([resource]).values()
        changed.result(30)

    usual = []

    def small():
        resource = ConfigResource(ConfigResource.Type.TOPIC, PAYLOADS)
        [told] = admin.describe_configs([resource]).values()
        usual.append(told.result(30)["max.message.bytes"].value)
        most_bytes(100)

    return [
        Fault("a source answers 500",
              {"TickstreamSourceFailing": {"source": "coingecko"}, "TickstreamGapOpen": {"source": "coingecko"}},
              answers(coingecko=500), answers(coingecko=200)),
        Fault("a source answers 401: its key is wrong", {"TickstreamSourceStopped": {"source": "coinmarketcap"}}, key(401), key(200)),
        Fault("a source's trades have no price any more",
              {"TickstreamSourceUnreadable": {"source": "coinbase", "code": ANY}}, answers(coinbase=None), answers(coinbase=100.0)),
        Fault("a plan of three calls a day", {"TickstreamBudgetSpent": {"source": "awesomeapi", "period": "day"}},
              lambda: fleet.planned.begin_anew(AWESOMEAPI_BUDGET="day=3"), fleet.planned.begin_anew),
        Fault("a second producer of the group is set to read other sources",
              {"TickstreamProducersDisagree": {"instance": fleet.planned.admin}}, disagree, agree),
        Fault("a webhook answers 503", {"TickstreamAlertsNotDelivered": {"channel": "pager"}}, hook("pager", 503), hook("pager", 200)),
        Fault("a webhook answers 400", {"TickstreamAlertsGivenUp": {"channel": "desk"}}, hook("desk", 400), hook("desk", 200)),
        Fault("a mistake in the file of rules", {"TickstreamAlertRulesRefused": {"instance": fleet.alerts.admin}},
              rules(RULES.replace("share", "shares")), rules(RULES)),
        Fault("a record that is none", {"TickstreamDeadLetters": {"job": "consumer-db"}}, poison, lambda: None),
        Fault("the topic's largest record is made smaller", {"TickstreamRecordsRefused": {"code": "MessageSizeTooLarge"}},
              small, lambda: most_bytes(usual[0])),
        Fault("four series more than the page keeps", {"TickstreamDashboardFull": {"instance": fleet.dashboard.admin}},
              more_symbols, lambda: None, lasts=True),
        Fault("somebody at one address guesses the token", {"TickstreamDashboardIntruder": {"instance": fleet.dashboard.admin}},
              *begin_and_end(Again(lambda: guess(fleet.page)))),
    ]


def stores(fleet):
    outside = fleet.outside
    damaged = {}

    def damage():
        # An object that the refiner has not read yet.
        fleet.refiner.signal(signal.SIGSTOP)
        at = time.time()
        path = wait_until("a new object", lambda: fleet.newest_object("bronze/ticks", at))
        damaged[path] = path.read_bytes()
        path.write_bytes(b"\0" * len(damaged[path]))
        fleet.refiner.signal(signal.SIGCONT)

    def mend():
        for path, whole in damaged.items():
            path.write_bytes(whole)

    def refuse():
        # It is by the store that the object comes.
        wait_until("the object", lambda: damaged, patience=120)
        fleet.store.proxy.refuses = True

    def take():
        fleet.store.proxy.refuses = False

    db = fleet.db.admin
    return [
        Fault("an object of bronze is overwritten with zeros", {"TickstreamRefinerFailing": {}}, damage, mend),
        Fault("a source is 10 % off the other",
              {"TickstreamPricesOffMedian": {"source": "coinbase", "symbol": "BTC-USD"}},
              lambda: setattr(outside, "coinbase", 110.0), lambda: setattr(outside, "coinbase", 100.0)),
        Fault("Postgres refuses connections",
              {"TickstreamDatabaseAway": {"instance": db},
               "TickstreamServiceNotReady": {"job": "consumer-db", "instance": db, "part": "sink"},
               "TickstreamConsumerBehind": {"job": "consumer-db", "topic": TICKS},
               "TickstreamConsumerStuck": {"job": "consumer-db", "instance": db}},
              fleet.database.shut, fleet.database.open),
        Fault("S3 answers 503",
              {"TickstreamStoreRefusing": {"job": "consumer-lake"}, "TickstreamLakeAnswersLost": {}}, refuse, take),
        Fault("SIGKILL", {"TickstreamServiceDown": {"job": "notifier", "instance": fleet.notifier.admin}},
              fleet.notifier.kill, fleet.notifier.start),
    ]


def broker_away(fleet):
    def hang():
        # Enough to fill memory and a small spill.
        fleet.flood = fleet.add(
            "producer-flood", "producer", PRODUCER_SOURCES="simulated", SIMULATED_SYMBOLS="DOGE-USD,ADA-USD", SIMULATED_RATE="2500",
            SIMULATED_SEED="7", PRODUCER_PAYLOADS="none", PRODUCER_SPILL_BYTES="4000000", PRODUCER_SPILL_DIR=str(fleet.folder / "spill-flood")).ready()
        fleet.signal_kafka(signal.SIGSTOP)

    def go_on():
        fleet.signal_kafka(signal.SIGCONT)
        wait_until("the spill to empty", lambda: fleet.flood.metric("tickstream_producer_spill_bytes") == 0, patience=180)
        # Seen by Prometheus.
        time.sleep(3)
        fleet.remove(fleet.flood)

    def slow_store():
        fleet.refiner_store.proxy.delay = 12
        # Its first look is one that it does not finish.
        fleet.refiner.begin_anew()

    def quick_store():
        fleet.refiner_store.proxy.delay = 0

    return [
        Fault("the broker hangs (SIGSTOP)",
              {"TickstreamNoPrices": {}, "TickstreamSpilling": {"instance": ANY}, "TickstreamRecordsDropped": {"topic": TICKS}}, hang, go_on),
        Fault("S3 takes 12 s for each answer to the refiner", {"TickstreamRefinerBehind": {"instance": fleet.refiner.admin}},
              slow_store, quick_store),
    ]


def slow(fleet):
    def lock():
        with psycopg.connect(fleet.database_url) as connection:
            connection.execute("lock table ticks in access exclusive mode")
            time.sleep(7)

    def second_writer():
        fleet.second = fleet.add(
            "consumer-lake-second", "consumer-lake", LAKE_GROUP="another", LAKE_MAX_AGE_MS="1000",
            S3_ENDPOINT_URL=f"http://127.0.0.1:{fleet.store.port}")

    return [
        Fault("the broker stands still for 5 s, again and again", {"TickstreamSlowAcknowledgement": {}},
              *begin_and_end(stutter(fleet.signal_kafka, 5, 2))),
        Fault("the dashboard stands still for 5.8 s, again and again",
              {"TickstreamDashboardBehind": {"instance": fleet.dashboard.admin}},
              *begin_and_end(stutter(fleet.dashboard.signal, 5.8, 2))),
        Fault("somebody holds a lock on `ticks` for 7 s, again and again", {"TickstreamDatabaseSlow": {}}, *begin_and_end(Again(lock))),
        Fault("a second group writes the same lake", {"TickstreamLakeConflicts": {"layer": "raw"}},
              second_writer, lambda: fleet.remove(fleet.second)),
    ]


def audited(fleet, fault):
    """The fault, over a file that the audit writes and that Prometheus reads."""
    file = Textfile(fleet.folder / "audit.prom")

    def audit():
        fleet.world.tickstream("audit", "--only", "db", "--metrics-file", str(file.path), check=False)

    def begin():
        audit()
        fleet.prometheus.scrape("audit", [file.address])
        change(audit, file)

    what, alerts, change, mend = fault
    return Fault(what, alerts, begin, lambda: mend(audit))


def audit_differs(fleet):
    lost = []

    def lose(audit, _):
        with psycopg.connect(fleet.database_url) as connection:
            delete = """delete from ticks using (select event_time, event_id from ticks order by event_time limit 1) as oldest
                        where (ticks.event_time, ticks.event_id) = (oldest.event_time, oldest.event_id) returning to_jsonb(ticks)::text"""
            [[row]] = connection.execute(delete).fetchall()
            lost.append(row)
        audit()

    def mend(audit):
        with psycopg.connect(fleet.database_url) as connection:
            connection.execute("insert into ticks select * from jsonb_populate_record(null::ticks, %s::jsonb)", lost)
        audit()

    return [audited(fleet, ("a row is deleted from Postgres", {"TickstreamAuditUnequal": {"kind": "database"}}, lose, mend))]


def audit_rests(fleet):
    def age(_, file):
        name = "tickstream_audit_last_run_timestamp_seconds"
        text = re.sub(rf"^{name} .*$", f"{name} {time.time() - 172800}", file.path.read_text(), flags=re.MULTILINE)
        file.path.write_text(text)

    alerts = {"TickstreamAuditCeased": {}}
    return [audited(fleet, ("the file says that the last audit ended two days ago", alerts, age, lambda audit: audit()))]


def begin_and_end(again):
    return again.begin, again.end


def guess(page):
    """One wrong token, 20 times a second."""
    request = urllib.request.Request(f"http://{page}/api/v1/symbols", headers={"Authorization": "Bearer a-wrong-token-of-many"})
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except (urllib.error.HTTPError, urllib.error.URLError, socket.timeout):
        pass
    time.sleep(0.05)


# In their order; the faults of a phase do not disturb each other.
PHASES = [sources_and_people, stores, audit_differs, audit_rests, broker_away, slow]

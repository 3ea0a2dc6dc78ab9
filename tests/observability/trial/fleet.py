"""The local stack and every service in it, each scraped; between them and the outside world stands what can fail."""

import os
import signal
import subprocess
import time
from pathlib import Path

import services
from between import Gate, Store
from outside import Outside
from services import Service, World, free_port, wait_until

TOKEN = "a-token-that-nobody-guesses"
RULES = """
[[rule]]
name = "moves"
kind = "moving_average"
window = 5
share = 0.0001
rearm = 0.00005
cooldown = "2s"
"""
CHANNELS = """
[[channel]]
name = "{name}"
type = "webhook"
url = "{url}/hooks/{name}"
timeout = "2s"
"""


class Program(Service):
    """A service of this `label`, with arguments."""

    def __init__(self, world, label, name, arguments=(), **settings):
        super().__init__(world, name, settings)
        self.label, self.arguments = label, arguments
        self.log = world.folder / f"{label}.log"

    @property
    def job(self):
        return "notifier" if self.label == "notifier" else self.name

    def start(self, **changed):
        environment = {**os.environ, **self.world.environment, **self.settings, **changed}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([services.BINARIES / self.name, *self.arguments], env=environment, stdout=log, stderr=log)
        wait_until(f"{self.label} to begin\n{self.tail()}", lambda: self.get("/livez") is not None)
        return self

    def begin_anew(self, **changed):
        self.stop()
        self.start(**changed)

    def signal(self, which):
        self.process.send_signal(which)


class Fleet:
    def __init__(self, folder, prometheus):
        self.folder, self.prometheus = folder, prometheus
        self.scraped = []
        self.world = World(folder)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        folder = self.folder
        self.outside = Outside()
        environment = self.world.environment
        before, at = environment["DATABASE_URL"].rsplit("@", 1)
        address, database = at.split("/", 1)
        self.database = Gate(address)
        self.database_url = environment["DATABASE_URL"]
        upstream = environment["S3_ENDPOINT_URL"].removeprefix("http://").rstrip("/")
        self.store, self.refiner_store = Store(upstream), Store(upstream)
        (folder / "rules.toml").write_text(RULES)
        (folder / "channels.toml").write_text("".join(CHANNELS.format(name=name, url=self.outside.url) for name in self.outside.hooks))
        (folder / "token").write_text(TOKEN)
        self.page = f"127.0.0.1:{free_port()}"
        url = self.outside.url
        self.prices = self.add(
            "producer", "producer", PRODUCER_SOURCES="simulated,coingecko,coinbase", SIMULATED_SYMBOLS="DOGE-USD,ADA-USD",
            SIMULATED_RATE="20", COINGECKO_BASE_URL=url, COINGECKO_SYMBOLS="BTC-USD", COINGECKO_POLL_SECONDS="1",
            COINGECKO_BUDGET="unlimited", COINBASE_WS_URL=url.replace("http", "ws") + "/coinbase", COINBASE_SYMBOLS="BTC-USD",
            COINBASE_SILENCE_SECONDS="30", PRODUCER_SPILL_DIR=str(folder / "spill-prices"))
        self.keyed = self.add(
            "producer-keyed", "producer", PRODUCER_SOURCES="coinmarketcap", COINMARKETCAP_BASE_URL=url,
            COINMARKETCAP_API_KEY="a-key", COINMARKETCAP_SYMBOLS="ETH-USD", COINMARKETCAP_POLL_SECONDS="2",
            COINMARKETCAP_BUDGET="unlimited", PRODUCER_SPILL_DIR=str(folder / "spill-keyed"))
        self.planned = self.add(
            "producer-planned", "producer", PRODUCER_SOURCES="awesomeapi", AWESOMEAPI_BASE_URL=url, AWESOMEAPI_SYMBOLS="USD-BRL",
            AWESOMEAPI_POLL_SECONDS="2", AWESOMEAPI_BUDGET="day=1000000", PRODUCER_GROUP="rates",
            PRODUCER_SPILL_DIR=str(folder / "spill-planned"))
        self.lake = self.add("consumer-lake", "consumer-lake", LAKE_MAX_AGE_MS="1000", S3_ENDPOINT_URL=f"http://127.0.0.1:{self.store.port}")
        self.refiner = self.add(
            "refiner", "refiner", ["run"], REFINER_EVERY="3s", REFINER_OPEN_EVERY="30s",
            S3_ENDPOINT_URL=f"http://127.0.0.1:{self.refiner_store.port}")
        self.db = self.add("consumer-db", "consumer-db", DATABASE_URL=f"{before}@127.0.0.1:{self.database.port}/{database}")
        self.alerts = self.add("consumer-alerts", "consumer-alerts", ["run"], ALERT_RULES=str(folder / "rules.toml"))
        self.notifier = self.add("notifier", "consumer-alerts", ["notify"], ALERT_CHANNELS=str(folder / "channels.toml"))
        self.dashboard = self.add(
            "dashboard", "dashboard", DASHBOARD_ADDR=self.page, DASHBOARD_AUTH_TOKEN_FILE=str(folder / "token"),
            # As many as there are when all is well.
            DASHBOARD_MAX_SERIES="6")
        for program in list(self.scraped):
            program.ready()

    def program(self, label, name, arguments=(), **settings):
        """Not scraped, and stopped in the end."""
        program = Program(self.world, label, name, arguments, **settings)
        self.world.services.append(program)
        return program

    def add(self, label, name, arguments=(), **settings):
        """Started and scraped."""
        program = self.program(label, name, arguments, **settings).start()
        self.scraped.append(program)
        self.tell(program.job)
        return program

    def remove(self, program):
        """Taken away, and not missed."""
        self.scraped.remove(program)
        self.tell(program.job)
        program.stop()
        self.world.services.remove(program)

    def tell(self, job):
        self.prometheus.scrape(job, [program.admin for program in self.scraped if program.job == job])

    def kafka(self):
        """The broker's process."""
        of_stack = str(self.folder).encode()
        for status in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = status.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"kafka.Kafka" in words and any(of_stack in word for word in words):
                return int(status.parent.name)
        raise AssertionError("the broker does not run")

    def signal_kafka(self, which):
        os.kill(self.kafka(), which)

    def newest_object(self, below, after):
        """The newest file below this in the lake, if it is newer than `after`."""
        files = [(path.stat().st_mtime, path) for path in self.world.data.glob(f"s3/*/{below}/**/*.parquet")]
        return next((path for at, path in sorted(files, reverse=True) if at > after), None)

    def audit(self):
        """Everything that the broker has is in the lake and in Postgres, or in the dead letters."""
        for producer in (self.prices, self.keyed, self.planned):
            producer.stop()
        self.alerts.stop()
        wait_until("the consumers to catch up", lambda: self.lake.caught_up() and self.db.caught_up(), patience=180)
        return self.world.audit()

    def close(self):
        self.signal_kafka(signal.SIGCONT)
        for program in self.world.services:
            if program.process.poll() is None:
                program.signal(signal.SIGCONT)
        deadline = time.monotonic() + 60
        for program in self.world.services:
            if program.process.poll() is None:
                program.signal(signal.SIGTERM)
        for program in self.world.services:
            try:
                program.process.wait(max(1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                program.process.kill()
        self.world.services.clear()
        self.world.close()

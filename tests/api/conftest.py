"""One market for all tests: some thousand simulated trades with a gap in them, in Kafka and in Postgres, and dashboards that
know them from memory, from the database alone and from the topic alone."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest
import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "end_to_end"))

from services import World, free_port, wait_until  # noqa: E402

TRADES = 4000
TOKEN = "a-token-of-some-length"


class Site:
    """One dashboard, asked over HTTP."""

    def __init__(self, world, name, **settings):
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self.service = world.start("dashboard", DASHBOARD_ADDR=self.address, **settings)
        self.service.log = world.folder / f"{name}.log"
        self.session = requests.Session()

    def ready(self):
        wait_until("the dashboard", lambda: self.service.get("/readyz") is not None)
        return self

    def get(self, path, **options):
        return self.session.get(self.url + path, timeout=30, **options)

    def json(self, path, **parameters):
        answer = self.get(path, params=parameters)
        assert answer.status_code == 200, f"{answer.url}: {answer.status_code} {answer.text}"
        return answer.json()


class Market:
    def __init__(self, folder):
        self.world = World(folder)
        producer = self.world.start(
            "producer",
            PRODUCER_SOURCES="simulated",
            PRODUCER_SPILL_DIR=str(folder / "spill"),
            SIMULATED_RATE="500",
            SIMULATED_TRADES=str(TRADES),
            SIMULATED_SCRIPT="gap@2s+2s",
        )
        database = self.world.start("consumer-db")
        token = folder / "token"
        token.write_text(TOKEN)
        # Empty: none, whatever this shell has.
        without = {"DATABASE_URL": "", "S3_BUCKET": ""}
        self.memory = Site(self.world, "memory", DASHBOARD_LOOK_BACK="24h", DASHBOARD_DEV="true", **without)
        producer.process.wait(timeout=60)
        database.ready()
        wait_until("the database to have all", database.caught_up)
        self.postgres = Site(self.world, "postgres", DASHBOARD_LOOK_BACK="1s", S3_BUCKET="")
        self.topic = Site(self.world, "topic", DASHBOARD_LOOK_BACK="1s", **without)
        self.guarded = Site(self.world, "guarded", DASHBOARD_AUTH_TOKEN_FILE=str(token), **without)
        self.sites = [self.memory, self.postgres, self.topic, self.guarded]
        for site in self.sites:
            site.ready()

    def close(self):
        # The producer has ended by itself.
        self.world.services = [service for service in self.world.services if service.name != "producer"]
        self.world.close()


@pytest.fixture(scope="session")
def market():
    folder = Path(tempfile.mkdtemp(prefix="tickstream-api-"))
    folder.chmod(0o755)
    market = Market(folder)
    try:
        yield market
    finally:
        market.close()
        shutil.rmtree(folder, ignore_errors=True)

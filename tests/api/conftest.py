"""One market for all tests: some thousand simulated trades with a gap in them, in Kafka and in Postgres, and dashboards that
know them from memory, from the database alone (by a login that may only read, over a wire that can be cut), from the topic
alone, and behind an ingress."""

import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "end_to_end"))

from services import World, free_port, wait_until  # noqa: E402

TRADES = 4000
TOKEN = "a-token-of-some-length"
USER = ("maria", "a pass:word with a colon")
PER_ADDRESS = 2


class Wire:
    """Stands in front of a server: when it is cut, connections break and new ones come to nothing."""

    def __init__(self, host, port):
        self.server, self.is_cut, self.carried = (host, port), False, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            if self.is_cut:
                client.close()
                continue
            server = socket.create_connection(self.server)
            self.carried += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        self.is_cut = True
        for end in self.carried:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
        self.carried = []

    def mend(self):
        self.is_cut = False


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
        reader = self.reader()
        self.postgres = Site(self.world, "postgres", DASHBOARD_LOOK_BACK="1s", DATABASE_URL=reader)
        self.topic = Site(self.world, "topic", DASHBOARD_LOOK_BACK="1s", **without)
        self.guarded = Site(self.world, "guarded", DASHBOARD_AUTH_TOKEN_FILE=str(token), **without)
        users = folder / "users"
        users.write_text("joao:another one\n" + ":".join(USER) + "\n")
        self.ingress = Site(
            self.world,
            "ingress",
            DASHBOARD_BASIC_AUTH_FILE=str(users),
            DASHBOARD_TRUST_FORWARDED_FOR="true",
            DASHBOARD_MAX_CONNECTIONS_PER_ADDRESS=str(PER_ADDRESS),
            **without,
        )
        self.sites = [self.memory, self.postgres, self.topic, self.guarded, self.ingress]
        for site in self.sites:
            site.ready()

    def reader(self):
        """The URL of a login that is a member of tickstream_reader and of nothing else, over the wire."""
        owner = self.world.environment["DATABASE_URL"]
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute("create role only_reads login password 'pw' in role tickstream_reader")
        server = urlsplit(owner)
        self.wire = Wire(server.hostname, server.port)
        return f"postgres://only_reads:pw@127.0.0.1:{self.wire.port}{server.path}"

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

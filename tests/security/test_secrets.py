"""Secrets that change while a service runs: it takes the new one up, and what is no secret leaves it as it is."""

import os
import subprocess
import urllib.request
import urllib.error
from urllib.parse import urlsplit

import psycopg
import pytest

from conftest import wait
from services import BINARIES, free_port

OFTEN = {"SECRETS_CHECK_SECONDS": "1", "SECRETS_SPREAD_SECONDS": "1"}


class Mounted:
    """A folder as Kubernetes mounts a Secret: all files change at once, by a link."""

    def __init__(self, folder, **files):
        self.folder, self.versions = folder, 0
        folder.mkdir()
        self.swap(**files)
        for name in files:
            (folder / name).symlink_to(f"..data/{name}")

    def swap(self, **files):
        self.versions += 1
        version = self.folder / f"..version{self.versions}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_bytes(content)
        (self.folder / "..new").symlink_to(version.name)
        (self.folder / "..new").rename(self.folder / "..data")


def begun(service):
    """How often the process has begun."""
    return service.log.read_text().count("admin listening")


def login(world, name, password):
    """The URL of a login that may write rows."""
    with psycopg.connect(world.environment["DATABASE_URL"], autocommit=True) as owner:
        owner.execute(psycopg.sql.SQL("create role {} login password {} in role tickstream_writer").format(psycopg.sql.Identifier(name), password))
    parts = urlsplit(world.environment["DATABASE_URL"])
    return f"postgres://{name}:{password}@{parts.hostname}:{parts.port}{parts.path}"


def sessions(world, name):
    with psycopg.connect(world.environment["DATABASE_URL"], autocommit=True) as owner:
        return owner.execute("select count(*) from pg_stat_activity where usename = %s", [name]).fetchone()[0]


def certificate(world):
    """Another certificate of the same user."""
    crt, key, _ = world.authority.issue("consumer-db")
    return {"crt": crt.read_bytes(), "key": key.read_bytes()}


@pytest.fixture
def feeding(world, tmp_path):
    world.way = "scram"
    producer = world.run_as("producer", "producer", PRODUCER_SOURCES="simulated", SIMULATED_RATE="200", PRODUCER_SPILL_DIR=str(tmp_path / "spill"))
    yield producer.ready()
    producer.stop()


def test_a_service_goes_on_with_what_its_secrets_become(world, feeding, tmp_path):
    subprocess.run([BINARIES / "consumer-db", "migrate"], env={**os.environ, **world.environment}, check=True, timeout=300)
    world.environment.pop("PGPASSWORD", None)
    url = tmp_path / "url"
    url.write_text(login(world, "rotating_1", "hunter2-one") + "\n")
    kafka = Mounted(tmp_path / "kafka", **certificate(world))
    files = {"ssl.certificate.location": kafka.folder / "crt", "ssl.key.location": kafka.folder / "key"}
    settings = {**world.kafka("consumer-db", "tls", **files), "DATABASE_URL_FILE": str(url), "DATABASE_URL": "", "DB_NO_MIGRATE": "true", **OFTEN}
    service = world.run_as("consumer-db", "consumer-db", **settings).ready()
    process = service.process.pid
    # The log holds what earlier tests wrote, too.
    first = begun(service)

    for damage in (lambda: url.write_text(""), url.unlink):
        damage()
        wait("it to say so", lambda: service.metric("tickstream_secrets_unusable") == 1)
    assert begun(service) == first, service.tail()

    url.write_text(login(world, "rotating_2", "hunter2-two") + "\n")
    wait("the other login", lambda: begun(service) == first + 1 and sessions(world, "rotating_2") > 0)
    service.ready()
    assert sessions(world, "rotating_1") == 0
    assert service.metric("tickstream_secrets_unusable") == 0

    kafka.swap(**certificate(world))
    wait("the other certificate", lambda: begun(service) == first + 2)
    service.ready()
    assert service.process.pid == process and service.process.poll() is None

    feeding.stop()
    wait(f"all to be written\n{service.tail()}", service.caught_up)
    world.tickstream("audit", "--only", "db", **world.kafka("operator"))
    service.stop()
    log = service.log.read_text()
    assert log.count("beginning anew with the changed secret") == 2 and "hunter2" not in log


def test_a_page_opens_to_the_token_that_its_file_has(world, tmp_path):
    file = tmp_path / "token"
    file.write_text("the-first-token-of-all")
    page = f"127.0.0.1:{free_port()}"
    settings = {"DASHBOARD_ADDR": page, "DASHBOARD_AUTH_TOKEN_FILE": str(file), "DATABASE_URL": "", **OFTEN}
    service = world.run_as("dashboard", "dashboard", **settings).ready()

    def answer(token):
        request = urllib.request.Request(f"http://{page}/api/v1/sources", headers={"Authorization": f"Bearer {token}"})
        try:
            return urllib.request.urlopen(request, timeout=5).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    assert answer("the-first-token-of-all") == 200 and answer("the-other-token-of-it") == 401
    file.write_text("the-other-token-of-it")
    wait("the other token", lambda: answer("the-other-token-of-it") == 200)
    assert answer("the-first-token-of-all") == 401
    service.stop()

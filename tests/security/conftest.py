"""A broker that trusts nobody, and the local stack's Postgres and object store beside it."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "end_to_end"))

from broker import Broker  # noqa: E402
from certificates import Authority  # noqa: E402
from documented import users  # noqa: E402
from services import BINARIES, Service, World, wait_until  # noqa: E402

# The user that a program comes in as.
USERS = {"tickstream": "operator"}


def wait(what, condition):
    """With patience for a machine that has much else to do."""
    return wait_until(what, condition, patience=300)


class Program(Service):
    """A service with arguments, as a Kafka user."""

    def __init__(self, world, name, arguments, settings):
        super().__init__(world, name, settings)
        self.arguments = arguments

    def ready(self):
        wait(f"{self.name} to be ready\n{self.tail()}", lambda: self.get("/readyz") is not None)
        return self

    def start(self):
        environment = {**os.environ, **self.world.environment, **self.settings}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([BINARIES / self.name, *self.arguments], env=environment, stdout=log, stderr=log)
        return self


class GuardedWorld(World):
    """As World, with a broker of its own; `way` is how users come in: scram or tls."""

    def __init__(self, folder):
        self.authority = Authority(folder / "certificates")
        self.broker = Broker(folder / "kafka", self.authority, users())
        self.way = "scram"
        # Names a broker, so that the stack starts none.
        os.environ["KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
        self.topics_are_made = False
        try:
            super().__init__(folder)
        except BaseException:
            self.broker.close()
            raise
        finally:
            del os.environ["KAFKA_BOOTSTRAP_SERVERS"]

    def kafka(self, user, way=None, **changed):
        """The two variables that let a program in."""
        settings = {**self.broker.settings(user, way or self.way), **changed}
        servers = settings.pop("bootstrap.servers")
        return {"KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_PROPERTIES": ",".join(f"{name}={value}" for name, value in settings.items())}

    def run_as(self, user, name, *arguments, **settings):
        program = Program(self, name, arguments, {**self.kafka(user), **settings}).start()
        self.services.append(program)
        return program

    def tickstream(self, *arguments, check=True, **kafka):
        self.environment |= kafka or self.kafka("operator")
        return super().tickstream(*arguments, check=check)

    def close(self):
        try:
            super().close()
        finally:
            self.broker.close()


@pytest.fixture(scope="session")
def world():
    # Not pytest's own folder: a database that refuses root runs as another user, who must read here.
    folder = Path(tempfile.mkdtemp(prefix="tickstream-"))
    folder.chmod(0o755)
    world = GuardedWorld(folder)
    try:
        yield world
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)

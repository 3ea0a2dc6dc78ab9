"""A dashboard that reads simulated trades as they come, with a gap every few seconds and alerts about next to nothing; and two
clients that are not there any more."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jsonschema
import pytest
import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "end_to_end"))

from services import BINARIES, Service, World, free_port, wait_until  # noqa: E402


GAPS = ",".join(f"gap@{at}s+2s" for at in range(6, 300, 12))
RULES = "".join(
    f"""
[[rule]]
name = "anything moves by {share} %"
kind = "moving_average"
window = 3
share = {share}
cooldown = "1s"
"""
    for share in (0.001, 0.003, 0.01, 0.03, 0.1)
)


class Alerts(Service):
    """Which has more than one command."""

    def start(self):
        environment = {**os.environ, **self.world.environment, **self.settings}
        with self.log.open("ab") as log:
            command = [BINARIES / self.name, "run"]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        return self


class Silent:
    """A connection that says so much and no more. It reads, so that its end can be seen, and answers nothing: no ping, no close."""

    def __init__(self, address, text):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.sendall(text)
        self.begun = time.monotonic()

    def seconds_until_closed(self, patience):
        while True:
            self.socket.settimeout(max(0.1, patience - (time.monotonic() - self.begun)))
            try:
                if not self.socket.recv(65536):
                    break
            except ConnectionError:
                break
        return time.monotonic() - self.begun


def upgrade(address):
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    head = f"GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    text = b'{"type":"subscribe","channel":"health"}'
    mask = bytes(4)
    return head.encode() + bytes([0x81, 0x80 | len(text)]) + mask + text


class Site:
    def __init__(self, folder):
        self.world = World(folder)
        self.producer = self.world.start(
            "producer",
            PRODUCER_SOURCES="simulated",
            PRODUCER_SPILL_DIR=str(folder / "spill"),
            SIMULATED_RATE="200",
            SIMULATED_SCRIPT=GAPS,
        )
        rules = folder / "rules.toml"
        rules.write_text(RULES)
        self.world.services.append(Alerts(self.world, "consumer-alerts", {"ALERT_RULES": str(rules)}).start())
        self.address = f"127.0.0.1:{free_port()}"
        self.dashboard = self.world.start(
            "dashboard",
            DASHBOARD_ADDR=self.address,
            DASHBOARD_MAX_CONNECTIONS_PER_ADDRESS="3000",
            DATABASE_URL="",
            S3_BUCKET="",
        )
        wait_until("the dashboard", lambda: self.dashboard.get("/readyz") is not None)
        self.half_open = Silent(self.address, upgrade(self.address))
        self.wordless = Silent(self.address, b"")
        self.half_a_request = Silent(self.address, b"GET /api/v1/latest HTTP/1.1\r\nHost: x\r\n")
        schema = requests.get(f"http://{self.address}/api/v1/websocket.schema.json", timeout=30).json()
        jsonschema.Draft202012Validator.check_schema(schema)
        self.validator = jsonschema.Draft202012Validator(schema)

    @property
    def socket(self):
        return f"ws://{self.address}/ws"

    def check(self, message):
        """The branch of the message's type alone: oneOf would say of a wrong field only that nothing fits."""
        defs = self.validator.schema["$defs"]
        of_type = [d for d in defs.values() if d.get("properties", {}).get("type", {}).get("const") == message["type"]]
        assert len(of_type) == 1, message
        self.validator.evolve(schema={**of_type[0], "$defs": defs}).validate(message)
        self.validator.validate(message)


@pytest.fixture(scope="session")
def site():
    folder = Path(tempfile.mkdtemp(prefix="tickstream-"))
    folder.chmod(0o755)
    site = Site(folder)
    try:
        yield site
    finally:
        site.world.close()
        shutil.rmtree(folder, ignore_errors=True)

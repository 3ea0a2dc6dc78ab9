"""A dashboard that reads simulated trades as they come."""

import shutil
import sys
import tempfile
from pathlib import Path

import jsonschema
import pytest
import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "end_to_end"))

from services import World, free_port, wait_until  # noqa: E402


class Site:
    def __init__(self, folder):
        self.world = World(folder)
        self.producer = self.world.start(
            "producer",
            PRODUCER_SOURCES="simulated",
            PRODUCER_SPILL_DIR=str(folder / "spill"),
            SIMULATED_RATE="200",
            SIMULATED_SCRIPT="gap@6s+4s",
        )
        self.address = f"127.0.0.1:{free_port()}"
        self.dashboard = self.world.start(
            "dashboard",
            DASHBOARD_ADDR=self.address,
            DASHBOARD_MAX_CONNECTIONS_PER_ADDRESS="3000",
            DATABASE_URL="",
            S3_BUCKET="",
        )
        wait_until("the dashboard", lambda: self.dashboard.get("/readyz") is not None)
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

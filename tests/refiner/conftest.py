import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# The stack and the services are started as the end-to-end tests start them.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "end_to_end"))

from services import World  # noqa: E402

from lake import Lake  # noqa: E402


@pytest.fixture(scope="session")
def lake():
    seed = int(os.environ.get("SEED", 7))
    print(f"SEED={seed}")
    # Not pytest's own folder: only its owner may enter that, and a database that refuses root runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="tickstream-refiner-"))
    folder.chmod(0o755)
    world = World(folder)
    try:
        lake = Lake(world, seed)
        world.close()
        yield lake
        lake.close()
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)

import shutil
import tempfile
from pathlib import Path

import pytest
from services import World


@pytest.fixture
def world():
    # Not pytest's own folder: only its owner may enter that, and a database that refuses root runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="tickstream-"))
    folder.chmod(0o755)
    world = World(folder)
    try:
        yield world
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)

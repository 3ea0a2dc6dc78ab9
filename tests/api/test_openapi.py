"""Schemathesis makes requests from the OpenAPI document, good and bad ones, and holds each answer to it."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def test_every_answer_is_as_described(market):
    site = market.postgres
    document = site.json("/api/v1/openapi.json")
    assert document["openapi"].startswith("3.1") and len(document["paths"]) >= 16
    result = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            "--config-file", HERE / "schemathesis.toml",
            "run", f"{site.url}/api/v1/openapi.json",
        ],
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(market.world.folder / "hypothesis")},
        cwd=market.world.folder, capture_output=True, text=True, timeout=300,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    print(result.stdout[-1500:])
    assert site.get("/api/health").status_code == 200

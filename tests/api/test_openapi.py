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


def test_the_stream_and_the_schema_of_its_messages_are_as_described(market):
    site = market.memory
    document = site.json("/api/v1/openapi.json")
    stream = document["paths"]["/api/v1/stream"]["get"]
    assert list(stream["responses"]["200"]["content"]) == ["text/event-stream"]
    names = {parameter["name"] for parameter in stream["parameters"]}
    assert names == {"channels", "symbols", "tf", "Last-Event-ID"}
    with site.get("/api/v1/stream", params={"channels": "ticks,candles", "tf": "1m"}, stream=True) as events:
        assert events.status_code == 200 and events.headers["Content-Type"] == "text/event-stream"
        lines = events.iter_lines(chunk_size=1)
        assert next(lines) == b"event: subscribed"
    for refused in ({"channels": "weather"}, {"channels": "candles"}, {"channels": "candles", "tf": "2m"}):
        answer = site.get("/api/v1/stream", params=refused)
        assert answer.status_code == 400 and answer.json()["error"]
    foreign = site.get("/api/v1/stream", headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403 and foreign.json()["error"]
    schema = site.json("/api/v1/websocket.schema.json")
    assert schema["$schema"].startswith("https://json-schema.org/") and len(schema["oneOf"]) >= 11

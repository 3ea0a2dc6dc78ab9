"""The database goes away and comes back; forecasts come from the lake."""

import hashlib
import hmac
import time
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import duckdb
import requests
from services import wait_until
from websockets.sync.client import connect


def test_a_database_that_goes_away_says_why_and_comes_back_by_itself(market):
    site = market.postgres
    before = int(time.time())

    def candles(minutes_ago):
        # Another time with each request: the cache has none of it.
        to = before - minutes_ago * 60
        return site.get("/api/v1/candles", params={"symbol": "BTC-BRL", "tf": "1m", "from": to - 86400 * 3, "to": to})

    assert candles(0).status_code == 200
    with connect(f"ws://{site.address}/ws") as page:
        page.send('{"type":"subscribe","channel":"health"}')
        market.wire.cut()
        try:
            away = candles(1)
            assert away.status_code == 503 and "does not answer" in away.json()["error"], away.text
            assert "only_reads:pw" not in away.text
            status = site.get("/status", headers={"Accept": "application/json"}).json()
            assert "does not answer" in status["history"]["problem"] and status["feed"]["state"] == "live"
            # Live goes on: this server still beats, is ready and answers from memory.
            assert '"state":"live"' in next(text for text in iter(page.recv, None) if '"heartbeat"' in text)
            assert site.service.get("/readyz") is not None
            assert site.get("/api/v1/latest").status_code == 200
        finally:
            market.wire.mend()
    minutes = iter(range(2, 10_000))
    wait_until("history to be back", lambda: candles(next(minutes)).status_code == 200)

    def problem():
        return site.get("/status", headers={"Accept": "application/json"}).json()["history"]["problem"]

    # The page asks the database once a second at most.
    wait_until("the status to say so", lambda: problem() is None)


def put(environment, key, body):
    """A PUT to the store, signed as AWS wants it (version 4)."""
    host = urlsplit(environment["S3_ENDPOINT_URL"]).netloc
    path = quote(f"/{environment['S3_BUCKET']}/{key}", safe="/")
    stamp, digest = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(headers)
    request = "\n".join(["PUT", path, "", *(f"{name}:{value}" for name, value in headers.items()), "", names, digest])
    scope = f"{stamp[:8]}/{environment['AWS_REGION']}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    secret = f"AWS4{environment['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in scope.split("/"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    known = f"Credential={environment['AWS_ACCESS_KEY_ID']}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 {known}, SignedHeaders={names}, Signature={signature}"
    answer = requests.put(f"http://{host}{path}", data=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text


def test_a_forecast_is_read_from_the_lake(market, tmp_path):
    # Of a symbol that nobody has asked for: the answer that there is no forecast is kept for a while, too.
    site = market.postgres
    none = site.json("/api/v1/forecasts", symbol="NONE-USD")
    assert none["forecasts"] == [] and "no forecast of NONE-USD" in none["reason"]
    today = datetime.now(UTC).date()
    file = tmp_path / "part.parquet"
    origin = datetime(today.year, today.month, today.day, tzinfo=UTC)
    duckdb.sql(f"""
        copy (
            select 'CAST-BRL' as symbol, timestamptz '{origin}' as origin,
                   timestamptz '{origin}' + hour * interval 1 hour as target_time, 'ets' as model,
                   500000.5 + hour as forecast, 499000.0 as lo80, 501000.0 as hi80, 498000.0 as lo95, 502000.0 as hi95,
                   true as beats_naive
            from range(24) as hours (hour)
            order by hour desc
        ) to '{file}' (format parquet)
    """)
    put(market.world.environment, f"gold/forecasts/dt={today}/part.parquet", file.read_bytes())
    found = site.json("/api/v1/forecasts", symbol="CAST-BRL")
    assert found["reason"] is None and found["origin_us"] == int(origin.timestamp()) * 1_000_000
    rows = found["forecasts"]
    assert [row["at_us"] for row in rows] == [found["origin_us"] + hour * 3_600_000_000 for hour in range(24)]
    assert (rows[0]["value"], rows[0]["lo95"], rows[23]["value"], rows[0]["model"]) == (500000.5, 498000.0, 500023.5, "ets")

"""The shapes that clients of a Flask kind of dashboard know, and how the server speaks HTTP."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
import requests
from conftest import TOKEN
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


def test_health_says_status_and_time(market):
    health = market.memory.json("/api/health")
    assert health["status"] == "healthy"
    assert datetime.fromisoformat(health["timestamp"]).tzinfo is not None


def test_bitcoin_in_reais(market):
    latest = market.memory.json("/api/bitcoin/latest")
    assert latest["price_brl"] > 1000 and isinstance(latest["price_brl"], float | int)
    assert datetime.fromisoformat(latest["timestamp"]) and latest["source"] == "simulated"
    hourly = market.memory.json("/api/bitcoin/hourly", hours=24)
    assert isinstance(hourly, list) and 1 <= len(hourly) <= 24
    assert hourly[-1]["low"] <= latest["price_brl"] <= hourly[-1]["high"]
    statistics = market.memory.json("/api/bitcoin/statistics", hours=6)
    assert {"avg", "min", "max", "count"} <= statistics.keys()
    assert statistics["min"] <= statistics["avg"] <= statistics["max"] and statistics["count"] > 100
    assert datetime.fromisoformat(statistics["complete_from"]) <= datetime.fromisoformat(latest["timestamp"])
    assert market.memory.get("/api/bitcoin/latest", params={"source": "nobody"}).status_code == 404
    assert market.memory.get("/api/bitcoin/hourly", params={"hours": 0}).status_code == 400


def test_a_number_has_all_its_digits(market):
    latest = market.memory.get("/api/v1/ticks", params={"symbol": "BTC-BRL", "limit": 1}).json()["ticks"][0]
    text = market.memory.get("/api/bitcoin/latest").text
    assert f'"price_brl":{latest["price"]},' in text


def test_who_polls_at_once_shares_an_answer(market):
    def counts():
        kinds = {each["kind"]: each for each in market.memory.json("/api/cache/stats")["by_kind"]}
        return kinds["latest"]["hits"], kinds["latest"]["misses"]

    before = counts()
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: requests.get(market.memory.url + "/api/v1/latest", timeout=20), range(60)))
    hits, misses = (now - then for now, then in zip(counts(), before, strict=True))
    assert {answer.status_code for answer in answers} == {200} and hits + misses == 60 and hits > 0
    etags = {answer.headers["ETag"] for answer in answers}
    assert 1 <= len(etags) <= misses
    known = requests.get(market.memory.url + "/api/v1/latest", headers={"If-None-Match": answers[-1].headers["ETag"]}, timeout=20)
    assert known.status_code in (200, 304) and known.headers["Cache-Control"] == "private, no-cache"


def test_the_cache_tells_how_often_it_helped(market):
    path, parameters = "/api/v1/statistics", {"symbol": "ETH-USD", "hours": 2}
    before = market.memory.json("/api/cache/stats")
    answers = [market.memory.get(path, params=parameters) for _ in range(20)]
    after = market.memory.json("/api/cache/stats")
    assert after["hits"] - before["hits"] >= 15 and after["misses"] > before["misses"]
    assert 0 < after["hit_rate"] <= 1
    kinds = {kind["kind"]: kind for kind in after["by_kind"]}
    assert kinds["statistics"]["hits"] >= 15 and kinds["statistics"]["ttl_ms"] == 5000
    metrics = market.memory.service.get("/metrics")
    assert 'tickstream_dashboard_cache_hits_total{kind="statistics"}' in metrics
    etag = answers[-1].headers["ETag"]
    known = market.memory.get(path, params=parameters, headers={"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")


def test_http_is_spoken_as_it_is_written(market):
    site = market.memory
    candles = site.get("/api/v1/candles", params={"symbol": "BTC-USD", "tf": "1s"}, headers={"Accept-Encoding": "gzip"})
    assert candles.headers["Content-Encoding"] == "gzip" and candles.json()["candles"]
    head = site.session.head(site.url + "/api/v1/symbols", timeout=10)
    assert (head.status_code, head.content) == (200, b"") and "ETag" in head.headers
    posted = site.session.post(site.url + "/api/v1/symbols", timeout=10)
    assert posted.status_code == 405 and "GET" in posted.headers["Allow"] and "POST" in posted.json()["error"]
    assert site.session.options(site.url + "/api/v1/symbols", timeout=10).status_code == 200
    nothing = site.get("/api/v1/nothing")
    assert nothing.status_code == 404 and nothing.json()["error"]
    foreign = site.get("/api/v1/symbols", headers={"Origin": "http://evil.example"})
    assert "Access-Control-Allow-Origin" not in foreign.headers
    assert foreign.headers["X-Content-Type-Options"] == "nosniff"


def test_pages_for_people(market):
    status = market.memory.get("/status", headers={"Accept": "text/html"})
    assert status.headers["Content-Type"].startswith("text/html") and "simulated" in status.text
    assert "<script" not in status.text and " style=" not in status.text
    policy = status.headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy
    told = market.postgres.get("/status", headers={"Accept": "application/json"}).json()
    assert told["feed"]["state"] == "live" and told["history"]["from"].startswith("database ")
    assert told["history"]["problem"] is None
    config = market.memory.get("/config", headers={"Accept": "application/json"}).json()
    settings = {setting["name"]: setting["value"] for setting in config}
    assert settings["DASHBOARD_LOOK_BACK"] and "KAFKA_BOOTSTRAP_SERVERS" in settings
    assert market.postgres.get("/config").status_code == 404


def test_a_token_is_asked_for_everywhere(market):
    site = market.guarded
    for path in ("/", "/api/v1/symbols", "/api/health", "/status", "/app.js", "/nothing"):
        answer = site.get(path, headers={"Accept": "*/*"})
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer"), path
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert site.get("/api/v1/symbols", headers=bearer).status_code == 200
    assert site.get("/api/v1/symbols", headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{site.address}/ws")
    assert refused.value.response.status_code == 401
    with connect(f"ws://{site.address}/ws", additional_headers=bearer) as socket:
        assert socket.recv(timeout=20)


def test_a_browser_logs_in_by_a_form(market):
    site = market.guarded
    html = {"Accept": "text/html"}
    sent = site.get("/?symbol=BTC-USD", headers=html, allow_redirects=False)
    assert (sent.status_code, sent.headers["Location"]) == (303, "/login?next=/%3Fsymbol%3DBTC-USD")
    form = site.get(sent.headers["Location"])
    assert 'action="/login"' in form.text and "form-action 'self'" in form.headers["Content-Security-Policy"]
    wrong = site.session.post(site.url + "/login", data={"token": "wrong"}, allow_redirects=False, timeout=10)
    assert wrong.status_code == 401 and "Set-Cookie" not in wrong.headers
    told = {"token": TOKEN, "next": "/?symbol=BTC-USD"}
    right = site.session.post(site.url + "/login", data=told, allow_redirects=False, timeout=10)
    assert (right.status_code, right.headers["Location"]) == (303, "/?symbol=BTC-USD")
    cookie = right.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and TOKEN not in cookie
    assert site.get("/api/v1/symbols").status_code == 200
    with connect(f"ws://{site.address}/ws", additional_headers={"Cookie": cookie.split(";")[0]}) as socket:
        assert socket.recv(timeout=20)
    site.session.cookies.clear()
    elsewhere = {"token": TOKEN, "next": "//evil.example"}
    led = site.session.post(site.url + "/login", data=elsewhere, allow_redirects=False, timeout=10)
    assert led.headers["Location"] == "/"
    site.session.cookies.clear()

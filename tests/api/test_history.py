"""Memory, the database and the topic say the same of the same time, digit for digit."""

import time

import pytest

WIDTHS = {"1s": 1, "1m": 60, "5m": 300, "1h": 3600, "1d": 86400}


@pytest.mark.parametrize("tf", WIDTHS)
@pytest.mark.parametrize("symbol", ["BTC-BRL", "DOGE-USD"])
def test_candles_are_the_same_wherever_they_come_from(market, tf, symbol):
    to = int(time.time())
    since = to - 120

    def candles(site):
        return site.json("/api/v1/candles", symbol=symbol, tf=tf, **{"from": since, "to": to})

    answers = {name: candles(getattr(market, name)) for name in ("memory", "postgres", "topic")}
    if WIDTHS[tf] > 60:
        # Memory may not hold the whole of a wide bucket yet, and says so.
        assert answers.pop("memory")["candles"]
        answers["memory"] = answers["topic"]
    else:
        assert answers["memory"]["origin"] == "memory"
    assert (answers["postgres"]["origin"], answers["topic"]["origin"]) == ("postgres", "topic")
    rows = answers["memory"]["candles"]
    assert rows and sum(row["trades"] for row in rows) > 100
    assert all(isinstance(row["open"], str) and isinstance(row["vwap"], str) for row in rows)
    over = [row for row in rows if row["start_us"] + WIDTHS[tf] * 1_000_000 < (to - 5) * 1_000_000]
    for name in ("postgres", "topic"):
        theirs = {row["start_us"]: row for row in answers[name]["candles"]}
        assert len(theirs) == len(rows), name
        for row in rows:
            other = theirs[row["start_us"]]
            assert {**other, "complete": None} == {**row, "complete": None}, name
        assert [theirs[row["start_us"]]["complete"] for row in over] == [row["complete"] for row in over], name
    if tf == "1s":
        assert {row["complete"] for row in over} == {True, False}, "the gap is in some of them"


def test_ticks_are_the_same_wherever_they_come_from(market):
    now = int(time.time() * 1_000_000)

    def ticks(site):
        return site.json("/api/v1/ticks", symbol="BTC-BRL", limit=100, before_us=now)

    names = ("memory", "postgres", "topic")
    answers = {name: ticks(getattr(market, name)) for name in names}
    assert {name: answer["origin"] for name, answer in answers.items()} == {name: name for name in names}
    rows = answers["memory"]["ticks"]
    assert len(rows) == 100 and rows == sorted(rows, key=lambda row: -row["event_time_us"])
    assert answers["postgres"]["ticks"] == rows
    assert answers["topic"]["ticks"] == rows
    older = market.postgres.json("/api/v1/ticks", symbol="BTC-BRL", limit=50, before_us=rows[-1]["event_time_us"])["ticks"]
    assert older and not {row["event_id"] for row in older} & {row["event_id"] for row in rows}


def test_gaps_and_statistics(market):
    gaps = market.memory.json("/api/v1/gaps")["gaps"]
    assert any(gap["source"] == "simulated" and gap["ended_at_us"] for gap in gaps)
    far = market.postgres.json("/api/v1/gaps", **{"from": "-3d"})
    assert far["origin"] == "postgres" and {gap["id"] for gap in gaps} <= {gap["id"] for gap in far["gaps"]}
    ours, theirs = (site.json("/api/v1/statistics", symbol="BTC-BRL", hours=1) for site in (market.memory, market.postgres))
    same = ("symbol", "source", "avg", "min", "max", "count", "first_us", "last_us")
    assert [ours[name] for name in same] == [theirs[name] for name in same]
    assert ours["stddev"] == pytest.approx(theirs["stddev"], rel=1e-6)


def test_a_time_that_is_nonsense_is_told_in_one_sentence(market):
    for parameters, says in [
        ({"symbol": "BTC-USD", "from": "2026-11-22", "to": "2026-11-21"}, "is not before"),
        ({"symbol": "BTC-USD", "tf": "2m"}, "1s, 1m, 5m, 1h, 1d"),
        ({"symbol": "BTC-USD", "tf": "1s", "from": "-7d"}, "at most 20000"),
        ({"symbol": "BTC-USD", "from": "yesterdayish"}, "2026-11-22T13:00:00Z"),
        ({"symbol": "BTC-USD", "limit": "0"}, "1 to 5000"),
        ({"symbol": "BTC-USD", "limit": "ten"}, "limit"),
        ({}, "symbol"),
    ]:
        answer = market.memory.get("/api/v1/candles", params=parameters)
        assert answer.status_code == 400 and says in answer.json()["error"], answer.text

"""One command brings everything up, prices are live, and nothing has been started twice on the way."""

import time

from cluster import audit, objects, pods, restarts, say, toolbox, until
from watching import restart_counts, warnings

QUIET = 60


def test_prices_are_live(installation):
    prices = installation["prices"]
    before = dict(prices.last)
    until("other prices", lambda: prices.last and any(prices.last[symbol] != price for symbol, price in before.items()) or not before, 60)
    until("several symbols", lambda: len(prices.last) >= 3, 60)
    assert prices.longest_silence(time.monotonic() - 5) < 5


def test_nothing_was_started_twice(installation):
    assert {name: count for name, count in restart_counts().items() if count} == {}
    for job in objects("jobs"):
        assert job["status"].get("failed", 0) == 0, job["metadata"]["name"]


def test_no_probe_flaps_while_all_is_well(installation):
    before, began = warnings(), time.monotonic()
    time.sleep(QUIET)
    assert installation["readiness"].between(began, time.monotonic()) == []
    flapped = {event: count for event, count in warnings().items() if event[1] == "Unhealthy" and count > before.get(event, 0)}
    assert flapped == {}
    assert sum(map(restarts, pods())) == 0
    silence = installation["prices"].longest_silence(began)
    say(f"{QUIET} s of quiet: no probe failed, no restart, the longest time between two prices {silence:.1f} s")
    assert silence < 10


def test_the_counts_are_equal(installation):
    audit("audit-at-start")


def test_the_toolbox_holds_the_settings(installation):
    latest = toolbox("tickstream", "latest")
    assert "BTC-USD" in latest
    say("tickstream latest, from the toolbox: " + next(line for line in latest.splitlines() if "BTC-USD" in line).strip())

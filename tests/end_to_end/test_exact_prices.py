"""Prices arrive exactly, to the last digit, everywhere: the topic, bronze, Postgres and the page. The payloads go in over real
HTTP and WebSocket; what is expected is taken from their text here, by Python's own JSON and Decimal."""

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
import readers
from exchanges import Exchanges
from page import Page
from services import free_port, wait_until

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "recorded"
COINS = {"bitcoin": "BTC", "ethereum": "ETH", "shiba-inu": "SHIB"}

# Written by hand in the shape of the sources: many digits, an exponent, trailing zeros, more than an i64 of volume.
COINGECKO = b"""{
  "bitcoin": {"usd": 67187.3358936566, "usd_market_cap": 1317802988326.25, "usd_24h_vol": 31260929299.5248,
              "usd_24h_change": 3.637278946773539, "brl": 342881.120000000000000001, "brl_24h_change": -0.5,
              "last_updated_at": 1781356300},
  "ethereum": {"usd": 3480.0, "brl": 17753.000000000000000000, "last_updated_at": 1781356301},
  "shiba-inu": {"usd": 1.2345e-05, "usd_24h_vol": 9007199254740993.25, "last_updated_at": 1781356302}
}"""
COINBASE = [
    '{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD","ETH-USD"]}]}',
    '{"type":"last_match","trade_id":900000001,"side":"buy","size":"0.00012345","price":"67190.10","product_id":"BTC-USD",'
    '"sequence":80000000001,"time":"2026-06-13T13:11:40.123456Z"}',
    '{"type":"match","trade_id":900000002,"side":"sell","size":"1.50000000","price":"67190.11000000","product_id":"BTC-USD",'
    '"sequence":80000000009,"time":"2026-06-13T13:11:41.000001Z"}',
    '{"type":"match","trade_id":500000001,"side":"sell","size":"12345678.123456789012345678","price":"3480.123456789012345678",'
    '"product_id":"ETH-USD","sequence":70000000009,"time":"2026-06-13T13:11:42Z"}',
]


def exact(text):
    """A decimal as the services show it: no exponent, no trailing zeros."""
    return f"{Decimal(text).normalize():f}"


def expected_ticks(coingecko, coinbase, products):
    """(source, symbol, price) of every tick that the payloads tell of, each once."""
    expected = Counter()
    for coin, values in json.loads(coingecko, parse_float=str, parse_int=str).items():
        for currency in ("usd", "brl"):
            if currency in values:
                expected["coingecko", f"{COINS[coin]}-{currency.upper()}", exact(values[currency])] += 1
    trades = {}
    for frame in map(json.loads, coinbase):
        if frame["type"] in ("match", "last_match") and frame["product_id"] in products:
            trades[frame["product_id"], frame["trade_id"]] = exact(frame["price"])
    for (product, _), price in trades.items():
        expected["coinbase", product, price] += 1
    return expected


def run(world, coingecko, coinbase, coins, currencies, products, screenshot=None):
    expected = expected_ticks(coingecko, coinbase, products)
    total = sum(expected.values())
    exchanges = Exchanges(coingecko, coinbase)
    address = f"127.0.0.1:{free_port()}"
    # Recorded payloads are years old: their times must be allowed.
    old = {"DB_OLDEST_EVENT_DAYS": "36500"}
    db = world.start("consumer-db", **old).ready()
    lake = world.start("consumer-lake", LAKE_MAX_AGE_MS="500").ready()
    world.start("dashboard", DASHBOARD_ADDR=address).ready()
    producer = world.start("producer", PRODUCER_SPILL_DIR=str(world.folder / "spill"),
                           **exchanges.settings(coins, currencies, products, world.folder / "symbols.toml")).ready()
    wait_until(f"{total} rows in Postgres\n{producer.tail()}",
               lambda: readers.postgres(world, "select count(*) from ticks")[0][0] >= total)

    page = Page(f"http://{address}/")
    try:
        newest = {}
        for row in readers.ticks(world.environment):
            key = (row["symbol"], row["source"])
            # Of several fills at one instant the last, as in latest_prices.
            place = (row["event_time"], -1 if row["sequence"] is None else row["sequence"], str(row["event_id"]))
            newest[key] = max(newest.get(key, (place, "")), (place, exact(str(row["price"]))))
        wait_until("every symbol on the page", lambda: page.prices().keys() == newest.keys())
        for key, (price, shown) in page.prices().items():
            assert price == newest[key][1], key
            assert shown.replace(",", "").replace(" ", "").replace("\N{NARROW NO-BREAK SPACE}", "") == price, key
        assert page.complaints() == []
        assert not page.is_shown("simulated")
        page.screenshot(screenshot)
    finally:
        page.close()

    producer.stop()
    wait_until("the lake to catch up", lambda: lake.caught_up())
    wait_until("Postgres to catch up", lambda: db.caught_up())
    lake.stop()
    totals = world.audit()

    # A socket that was opened again repeats its history: the topic and bronze may hold an event twice, under one id.
    in_topic = list({t["event_id"]: t for t in readers.ticks(world.environment)}.values())
    assert Counter((t["source"], t["symbol"], exact(str(t["price"]))) for t in in_topic) == expected
    events = {event_id: (source, symbol, exact(price)) for source, symbol, price, _, event_id in readers.bronze(world)}
    assert Counter(events.values()) == expected
    rows = readers.postgres(world, "select source, symbol, price::text from ticks")
    assert Counter((source, symbol, exact(price)) for source, symbol, price in rows) == expected
    times = {(t["source"], t["symbol"], exact(str(t["price"])), int(t["event_time"].timestamp() * 1e6 + 0.5)) for t in in_topic}
    assert {(s, y, exact(p), at) for s, y, p, at, _ in readers.bronze(world)} == times
    assert readers.topic(world.environment, "market.ticks.v1.dlq") == []
    assert totals["dead_letters"] == 0 and totals["postgres_rows"] == total
    print(f"{total} ticks exact in the topic, bronze, Postgres and on the page")
    exchanges.close()
    return in_topic


def test_handwritten_payloads(world):
    ticks = run(world, COINGECKO, COINBASE, COINS, ["usd", "brl"], ["BTC-USD", "ETH-USD"])
    bitcoin = next(t for t in ticks if t["source"] == "coingecko" and t["symbol"] == "BTC-USD")
    assert str(bitcoin["change_24h_pct"]).rstrip("0") == "3.637278946773539"
    assert exact(str(bitcoin["quote_volume_24h"])) == "31260929299.5248"
    assert exact(str(bitcoin["market_cap"])) == "1317802988326.25"
    assert next(t for t in ticks if t["symbol"] == "SHIB-USD")["price"] == Decimal("0.000012345")
    trade = next(t for t in ticks if t["trade_id"] == "500000001")
    assert trade["price"] == Decimal("3480.123456789012345678")
    assert trade["quantity"] == Decimal("12345678.123456789012345678")


def recorded():
    """Each recorded CoinGecko answer with prices, with the recorded Coinbase sessions' trades beside it."""
    sessions = sorted((RECORDED / "coinbase").glob("exchange_ws__session*"))
    frames = [line for session in sessions for line in session.read_text().splitlines() if line.strip()]
    answers = sorted(path for path in (RECORDED / "coingecko").glob("*simple_price*") if b"usd" in path.read_bytes())
    return frames, answers


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_recorded_payloads(world, number):
    if not RECORDED.is_dir():
        print(f"SKIPPED: no recorded payloads beside the project ({RECORDED.name}/ is not there)")
        return
    frames, answers = recorded()
    if number >= len(answers):
        return
    answer = answers[number].read_bytes()
    trades = [json.loads(frame) for frame in frames]
    products = sorted({t["product_id"] for t in trades if t.get("type") in ("match", "last_match")})
    run(world, answer, frames if number == 0 else frames[:0], {coin: COINS[coin] for coin in json.loads(answer)}, ["usd"], products)

"""The chart: what is drawn is told by the readout and the table, which have the exact digits."""

import json
import re
import urllib.parse
from decimal import Decimal

import pytest
from canvas import drawn
from conftest import MINUTE
from playwright.sync_api import expect


def candles(server, **query):
    return json.loads(server.get(f"/api/v1/candles?{urllib.parse.urlencode(query)}"))["candles"]


def grouped(price):
    whole, _, fraction = price.partition(".")
    return f"{int(whole):,}" + (f".{fraction}" if fraction else "")


def close_is(price):
    """The readout's close to the last digit; zeros may follow up to the price's step."""
    return re.compile(rf"^C {re.escape(grouped(price))}" + ("0*$" if "." in price else r"(\.0+)?$"))


def number(text):
    return Decimal(text.replace(",", ""))


def point_at(page, share):
    box = page.locator("#chart").bounding_box()
    page.mouse.move(box["x"] + (box["width"] - 80) * share, box["y"] + box["height"] / 2)


def test_the_readout_has_the_last_candle_exactly(server, page):
    server.topics.tick("BTC-USD", "coinbase", "84111.123456789")
    expect(page.locator("#readout .close")).to_have_text("C 84,111.123456789")
    last = candles(server, symbol="BTC-USD", source="coinbase", tf="1m")[-1]
    for value in (last["open"], last["high"], last["low"]):
        expect(page.locator("#readout")).to_contain_text(grouped(value))
    expect(page.locator("#readout .average")).to_contain_text("MA 20")
    assert drawn(page, "--average")["count"] > 20 and drawn(page, "--up")["count"] > 20


def test_the_crosshair_reads_an_older_candle(page):
    last = page.locator("#readout time").inner_text()
    point_at(page, 0.3)
    expect(page.locator("#readout time")).not_to_have_text(last)


def test_line_and_candles(page):
    page.get_by_role("button", name="Line").click()
    expect(page.get_by_role("button", name="Line")).to_have_attribute("aria-pressed", "true")
    expect(page).to_have_url(re.compile("style=line"))
    page.keyboard.press("l")
    expect(page).not_to_have_url(re.compile("style=line"))


@pytest.mark.parametrize("key, tf", [("1", "1s"), ("3", "5m"), ("4", "1h"), ("5", "1d")])
def test_timeframes_by_key(server, page, key, tf):
    page.keyboard.press(key)
    expect(page.locator("#frames").get_by_role("button", name=tf)).to_have_attribute("aria-pressed", "true")
    expect(page).to_have_url(re.compile(f"tf={tf}"))
    expected = candles(server, symbol="BTC-USD", source="coinbase", tf=tf)[-1]
    expect(page.locator("#readout .close")).to_have_text(close_is(expected["close"]))


def test_scrolling_back_loads_older_and_now_returns(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/candles" in request.url else None)
    box = page.locator("#chart").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    for _ in range(12):
        page.mouse.wheel(-900, 0)
    expect(page.locator("#chart-note")).to_have_text("There is nothing older.")
    assert any("to=" in url for url in asked)
    expect(page).to_have_url(re.compile("from="))
    page.get_by_role("button", name="Now").click()
    expect(page).not_to_have_url(re.compile("from="))


def test_the_table_has_what_the_chart_has(server, page):
    page.keyboard.press("t")
    expect(page.locator("#bars")).to_be_visible()
    expect(page.locator("#chart")).to_be_hidden()
    expected = candles(server, symbol="BTC-USD", source="coinbase", tf="1m")
    cells = page.locator("#bars tbody tr").nth(5).locator("td")
    start = page.locator("#bars tbody tr").nth(5).locator("th").inner_text()
    candle = next(each for each in expected if page.evaluate("us => new Date(us / 1000).toISOString().slice(0, 19).replace('T', ' ')",
                                                             each["start_us"]) == start)
    assert [number(cells.nth(i).inner_text()) for i in range(4)] == [Decimal(candle[name]) for name in ("open", "high", "low", "close")]
    page.get_by_role("button", name="Table").click()
    expect(page.locator("#chart")).to_be_visible()


def test_a_gap_is_shaded_and_read_out(page):
    # The hand-written gap is 42 to 38 minutes old; 120 minutes fill the chart's width.
    for share in (0.62, 0.64, 0.66, 0.68, 0.7):
        point_at(page, share)
        page.wait_for_timeout(150)
        if "gap: disconnected" in page.locator("#readout").inner_text():
            return
    raise AssertionError(page.locator("#readout").inner_text())


def test_two_sources_are_compared_exactly(page):
    page.select_option("#compare", "kraken")
    expect(page).to_have_url(re.compile("compare=kraken"))
    point_at(page, 0.5)
    compared = page.locator("#readout .compared")
    expect(compared.first).to_contain_text("kraken")
    close = number(page.locator("#readout .close").inner_text()[2:])
    other = number(compared.first.inner_text().split()[-1])
    assert number(compared.nth(1).inner_text().split()[1]) == close - other


def test_a_link_opens_the_same_view(server, open_page):
    from_us = server.began_us - 90 * MINUTE
    iso = f"{__import__('datetime').datetime.fromtimestamp(from_us // 10**6, __import__('datetime').UTC):%Y-%m-%dT%H:%M:%S}Z"
    address = f"/?symbol=BTC-USD&source=kraken&tf=5m&from={iso}&compare=coinbase&currency=BRL&style=line"
    page = open_page(address)
    expect(page.locator("#selected-name")).to_have_text("BTC-USD")
    expect(page.locator("#source")).to_have_value("kraken")
    expect(page.locator("#compare")).to_have_value("coinbase")
    expect(page.locator("#currency")).to_have_value("BRL")
    expect(page.locator("#frames").get_by_role("button", name="5m")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Line")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#readout .close")).to_be_visible()
    assert page.url.endswith(address)
    page.keyboard.press("4")
    page.go_back()
    expect(page.locator("#frames").get_by_role("button", name="5m")).to_have_attribute("aria-pressed", "true")

"""Time travel: the same page, fed from the log as it was."""

import datetime
import re

from playwright.sync_api import expect

LTC = '#prices tr[data-symbol="LTC-USD"][data-source="coinbase"]'
NETWORK = r"Failed to load resource|WebSocket connection|net::ERR"


def iso(us):
    return f"{datetime.datetime.fromtimestamp(us / 1e6, datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def test_play_pause_step_speed_and_back(server, open_page):
    began = server.topics.tick("LTC-USD", "coinbase", "80.01")
    for number in range(2, 7):
        server.topics.tick("LTC-USD", "coinbase", f"80.0{number}")
    address = f"/replay?from={iso(began - 1_000_000)}&speed=0.1&symbol=LTC-USD&source=coinbase"
    page = open_page(address, wait=False)
    expect(page.locator("#replay")).to_be_visible()
    expect(page.locator("#connection")).to_have_attribute("data-state", "replay")
    page.locator("#replay-pause").click()
    expect(page.locator("#replay-state")).to_have_text("paused")
    expect(page.locator("#connection-word")).to_have_text("replay paused")
    seen = page.locator(LTC).get_attribute("data-price") if page.locator(LTC).count() else None
    page.locator("#replay-step").click()
    expect(page.locator(LTC)).to_have_attribute("data-price", re.compile(r"80\.0\d"))
    if seen:
        expect(page.locator(LTC)).not_to_have_attribute("data-price", seen)
    page.select_option("#replay-speed", "max")
    page.locator("#replay-pause").click()
    expect(page.locator(LTC)).to_have_attribute("data-price", "80.06")
    page.locator("#replay-live").click()
    expect(page.locator("#connection-word")).to_have_text("live")
    expect(page).to_have_url(re.compile(r"/\?symbol=LTC-USD"))


def test_the_way_there(server, open_page):
    page = open_page("/?symbol=BTC-USD&source=coinbase")
    page.locator("#travel").click()
    page.fill("#travel-from", iso(server.began_us)[:19])
    page.select_option("#travel-speed", "60")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page).to_have_url(re.compile(r"/replay\?.*from=.*speed=60"))
    expect(page.locator("#connection")).to_have_attribute("data-state", "replay")


def test_nonsense_is_answered_in_words(open_page, watch):
    watch.allowed.append(NETWORK)
    page = open_page("/replay?from=yesterdayish", wait=False)
    expect(page.locator("#feed")).to_contain_text("The replay does not start")

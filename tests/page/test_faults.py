"""What a reader meets where something is missing: the right to come in, a place for one more replay, history, the log's beginning."""

import json
import re

import pytest
from conftest import ALONE
from playwright.sync_api import expect
from services import free_port, wait_until
from test_reader import AXE
from topics import now_us

BTC = '#prices tr[data-symbol="BTC-USD"][data-source="coinbase"]'
NETWORK = r"Failed to load resource|WebSocket connection|net::ERR"
TOKEN = "a-token-of-some-length"
AT = "symbol=BTC-USD&source=coinbase"


@pytest.fixture(scope="module")
def strict(server):
    """A dashboard that asks for a token, plays one replay at a time, and whose database is away."""
    port = free_port()
    token = server.world.folder / "token"
    token.write_text(TOKEN)
    settings = {**ALONE, "DASHBOARD_AUTH_TOKEN_FILE": str(token), "DASHBOARD_MAX_REPLAYS": "1",
                "DATABASE_URL": f"postgres://reader:secret@127.0.0.1:{free_port()}/market"}
    service = server.world.start("dashboard", DASHBOARD_ADDR=f"127.0.0.1:{port}", **settings).ready()
    service.url = f"http://127.0.0.1:{port}"
    yield service
    service.stop()


def log_in(open_page, strict, address):
    page = open_page(address, url=strict.url, wait=False)
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    return page


def test_who_is_logged_out_is_told_and_led_back(open_page, strict, watch):
    watch.allowed.append(NETWORK)
    page = log_in(open_page, strict, f"/?{AT}")
    expect(page.locator(BTC)).to_be_visible()
    expect(page).to_have_url(re.compile(f"/\\?{AT}$"))
    page.context.clear_cookies()
    # Who connects again has to prove anew who it is.
    strict.stop()
    expect(page.locator("#connection")).to_have_attribute("data-state", "waiting")
    strict.start().ready()
    expect(page.locator("#feed")).to_contain_text("wants to know again who asks", timeout=60_000)
    expect(page.locator(BTC)).to_have_attribute("data-freshness", "unknown")
    page.locator("#log-in").click()
    page.get_by_label("Token").fill("not the token")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(AT))
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def test_one_replay_too_many_says_so(server, open_page, strict, watch):
    watch.allowed.append(NETWORK)
    began = server.topics.tick("BTC-USD", "coinbase", "84001.07")
    first = log_in(open_page, strict, f"/replay?from={began // 1_000_000 - 60}&speed=0.1&{AT}")
    expect(first.locator("#replay-state")).to_have_text("playing")
    second = log_in(open_page, strict, f"/replay?from={began // 1_000_000 - 60}&{AT}")
    expect(second.locator("#feed")).to_contain_text("The replay does not start")
    expect(second.locator("#feed")).to_contain_text("replays")
    first.context.close()
    expect(second.locator("#connection")).to_have_attribute("data-state", "replay", timeout=60_000)
    expect(second.locator("#feed")).to_be_hidden()


def test_live_prices_go_on_without_the_database_and_history_says_why(server, open_page, strict, watch):
    watch.allowed.append(NETWORK)
    page = log_in(open_page, strict, f"/?{AT}&tf=1h&from=2026-01-05")
    expect(page.locator("#chart-note")).to_contain_text(re.compile("No history: .*database"))
    expect(page.locator("#chart-note")).not_to_contain_text("secret")
    server.topics.tick("BTC-USD", "coinbase", "84002.07")
    expect(page.locator(BTC)).to_have_attribute("data-price", "84002.07")
    page.locator("#now").click()
    expect(page.locator("#readout .close")).to_contain_text("84,002.07")
    expect(page.locator("#connection-word")).to_have_text("live")


def test_a_replay_from_before_the_log_says_where_it_begins(open_page):
    page = open_page(f"/replay?from=2001-01-01&speed=0.1&{AT}", wait=False)
    expect(page.locator("#connection")).to_have_attribute("data-state", "replay")
    expect(page.locator("#replay-state")).to_have_text(re.compile(r"playing · since 20\d\d-.*: nothing older is kept"))


def test_a_time_before_all_that_is_kept_and_one_that_is_none(open_page):
    page = open_page(f"/?{AT}&from=2001-01-01")
    expect(page.locator("#chart-note")).to_contain_text("No candle of that time is kept.")
    page.locator("#now").click()
    expect(page.locator("#readout .close")).to_be_visible()
    expect(page.locator("#chart-note")).to_be_hidden()
    page = open_page(f"/?{AT}&from=yesterdayish")
    expect(page.locator("#chart-note")).to_contain_text("“yesterdayish” in the address is no time")
    expect(page.locator("#readout .close")).to_be_visible()


def test_a_link_has_the_zoom(page, open_page):
    box = page.locator("#chart").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 120, box["y"] + 100)
    for _ in range(8):
        page.mouse.wheel(0, -200)
    expect(page).to_have_url(re.compile(r"[?&]bars=\d+"))
    bars = int(re.search(r"bars=(\d+)", page.url).group(1))
    assert 10 <= bars < 110
    other = open_page(page.url.split("/", 3)[3].join(["/", ""]))
    expect(other.locator("#readout .close")).to_be_visible()
    other.wait_for_timeout(1000)
    assert f"bars={bars}" in other.url, "and it stays as it was laid out"
    shown = wait_until("candles in sight", lambda: other.wait_for_timeout(100) or visible(other))
    assert abs(shown - bars) <= 6


def visible(page):
    """How many candles a file of what is in sight has."""
    page.locator("#share").click()
    with page.expect_download() as waiting:
        page.locator("#chart-json").click()
    page.keyboard.press("Escape")
    return len(json.loads(open(waiting.value.path()).read()))


def test_axe_finds_no_serious_fault_in_an_outage(server, open_page):
    state = {"state": "outage", "reason": "no broker answers", "since_us": now_us() - 60_000_000}

    def route(socket):
        upstream = socket.connect_to_server()

        def to_page(text):
            message = json.loads(text)
            if message["type"] == "heartbeat":
                message["feed"] = state
            socket.send(json.dumps(message))

        upstream.on_message(to_page)

    for look in ({"color_scheme": "light"}, {"color_scheme": "dark"}, {"width": 390, "height": 844}):
        page = open_page(f"/?{AT}", wait=False, before=lambda page: page.route_web_socket(re.compile("/ws$"), route), **look)
        expect(page.locator("#connection")).to_have_attribute("data-state", "stale")
        expect(page.locator("#feed")).to_be_visible()
        expect(page.locator(BTC)).to_have_attribute("data-freshness", "unknown")
        page.evaluate(AXE.read_text())
        violations = page.evaluate("axe.run(document)")["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations if each["impact"] in ("serious", "critical")] == []

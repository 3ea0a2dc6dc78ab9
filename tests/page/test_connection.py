"""How the live data comes, and what the page says when it does not."""

import json
import re

from playwright.sync_api import expect
from services import wait_until

BTC = '#prices tr[data-symbol="BTC-USD"][data-source="coinbase"]'
NETWORK = r"Failed to load resource|WebSocket connection|net::ERR"


def arrives(server, page, price):
    server.topics.tick("BTC-USD", "coinbase", price)
    expect(page.locator(BTC)).to_have_attribute("data-price", price)


def test_reconnecting_counts_down_and_goes_on_by_cursor(server, open_page, watch):
    watch.allowed.append(NETWORK)
    service, url = server.other()
    sent = []
    page = open_page("/?symbol=BTC-USD&source=coinbase", url=url,
                     before=lambda page: page.on("websocket", lambda ws: ws.on("framesent", lambda frame: sent.append(json.loads(frame)))))
    expect(page.locator("#connection-word")).to_have_text("live")
    service.stop()
    expect(page.locator("#connection")).to_have_attribute("data-state", "waiting")
    expect(page.locator("#connection")).to_have_text(re.compile(r"reconnecting in \d+ s"))
    expect(page.locator("#feed")).to_contain_text("Prices are as of")
    expect(page.locator(BTC)).to_have_attribute("data-freshness", "unknown")
    for price in ("84776.66", "84777.77"):
        server.topics.tick("BTC-USD", "coinbase", price)
    sent.clear()
    service.start()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=60_000)
    expect(page.locator(BTC)).to_have_attribute("data-price", "84777.77")
    assert any(frame.get("channel") == "ticks" and "@" in (frame.get("cursor") or "") for frame in sent)
    # Those that came meanwhile stand between.
    expect(page.locator("#ticks tr").nth(1)).to_contain_text("84,776.66")
    service.stop()


def without_sockets(page):
    page.add_init_script("delete window.WebSocket")


def test_server_sent_events_where_no_socket_comes_through(server, open_page):
    page = open_page("/?symbol=BTC-USD&source=coinbase", before=without_sockets)
    expect(page.locator("#connection")).to_have_text("live (SSE)")
    arrives(server, page, "84301.01")
    expect(page.locator("#readout .close")).to_contain_text("C 84,301.01")


def test_polling_where_nothing_else_comes_through(server, open_page, watch):
    watch.allowed.append(NETWORK)

    def before(page):
        without_sockets(page)
        page.route("**/api/v1/stream*", lambda route: route.abort())

    page = open_page("/?symbol=BTC-USD&source=coinbase", before=before)
    expect(page.locator("#connection")).to_have_text("polling", timeout=30_000)
    arrives(server, page, "84302.02")
    expect(page.locator("#readout .close")).to_contain_text("C 84,302.02")
    server.topics.alert("polled", "SOL-USD", "coinbase", "told by polling")
    expect(page.locator("#alerts")).to_contain_text("told by polling")


def test_a_browser_that_slept_for_an_hour(server, open_page):
    sockets = []

    def before(page):
        page.clock.install()
        page.on("websocket", lambda ws: sockets.append(ws.url))

    page = open_page("/?symbol=BTC-USD&source=coinbase", before=before)
    arrives(server, page, "84303.03")
    count = len(sockets)
    page.clock.fast_forward("01:00:00")
    wait_until("another socket", lambda: page.wait_for_timeout(100) or len(sockets) > count)
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    arrives(server, page, "84304.04")
    # The page's clock is an hour ahead of the server's from now on.
    expect(page.locator(f"{BTC} .age")).to_have_text(re.compile(r"^.?\d+s"))
    expect(page.locator("#clock")).to_have_text(re.compile("ahead of the server"))


def test_a_wrong_clock_is_no_delay(server, open_page):
    page = open_page("/?symbol=BTC-USD&source=coinbase", before=lambda page: page.clock.install(time="2026-01-01T00:00:00Z"))
    arrives(server, page, "84305.05")
    expect(page.locator("#clock")).to_have_text(re.compile("behind the server"))
    expect(page.locator(f"{BTC} .age")).to_have_text(re.compile(r"^.?\d+s"))
    source = page.locator("#sources tr", has=page.get_by_role("rowheader", name="coinbase"))
    expect(source.locator("td").nth(5).locator(".half")).to_have_text(re.compile(r"\d m?s$"))


def test_an_outage_says_since_when(server, open_page):
    """The server's own word in an outage, put into its heartbeats on their way."""
    state = {}

    def route(socket):
        upstream = socket.connect_to_server()

        def to_page(text):
            message = json.loads(text)
            if message["type"] == "heartbeat" and state:
                message["feed"] = state
            socket.send(json.dumps(message))

        upstream.on_message(to_page)

    page = open_page("/?symbol=BTC-USD&source=coinbase", before=lambda page: page.route_web_socket(re.compile("/ws$"), route))
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    shown = page.locator("#selected-price").inner_text()
    state.update(state="outage", reason="no broker answers", since_us=1_795_000_000_000_000)
    expect(page.locator("#connection")).to_have_text(re.compile(r"stale since .*\d\d:\d\d:\d\d"))
    expect(page.locator("#feed")).to_contain_text("no broker answers")
    since = page.locator("#connection-detail").inner_text().removeprefix(" since ").strip().removeprefix("since ")
    expect(page.locator("#feed")).to_contain_text(f"Prices are as of {since}")
    expect(page.locator(BTC)).to_have_attribute("data-freshness", "unknown")
    assert page.locator("#selected-price").inner_text() == shown, "nothing is made up"
    state.clear()
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    expect(page.locator("#feed")).to_be_hidden()


def test_a_lost_message_is_never_silent(server, open_page):
    dropped, sockets = [], []

    def route(socket):
        sockets.append(socket)
        upstream = socket.connect_to_server()

        def to_page(text):
            if json.loads(text)["type"] == "update" and not dropped and len(sockets) == 1:
                dropped.append(text)
            else:
                socket.send(text)

        upstream.on_message(to_page)

    page = open_page("/?symbol=BTC-USD&source=coinbase", before=lambda page: page.route_web_socket(re.compile("/ws$"), route))
    server.topics.tick("BTC-USD", "coinbase", "84306.06")
    wait_until("another socket", lambda: page.wait_for_timeout(100) or len(sockets) > 1)
    arrives(server, page, "84307.07")

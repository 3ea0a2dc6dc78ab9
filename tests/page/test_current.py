"""What is shown is of now and of what it says that it is, or says that it is not."""

import datetime
import json
import re
import urllib.parse

from conftest import MINUTE
from playwright.sync_api import expect
from services import wait_until
from topics import identity, now_us

BTC = '#prices tr[data-symbol="BTC-USD"][data-source="coinbase"]'
NETWORK = r"Failed to load resource|WebSocket connection|net::ERR"


def query(url):
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))


def iso(us):
    return f"{datetime.datetime.fromtimestamp(us / 1e6, datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def test_candles_of_another_timeframe_never_come_in(server, page):
    for key, tf in (("4", "1h"), ("2", "1m"), ("5", "1d")):
        page.keyboard.press(key)
        for _ in range(12):
            server.topics.tick("BTC-USD", "coinbase", "84050.07")
            page.wait_for_timeout(40)
        expect(page.locator("#frames").get_by_role("button", name=tf)).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("t")
        end = {"1h": ":00:00", "1m": ":00", "1d": "00:00:00"}[tf]
        starts = page.locator("#bars tbody th")
        wait_until(f"candles of {tf} alone", lambda: page.wait_for_timeout(100) or all(
            start.endswith(end) for start in starts.all_inner_texts() or [""]), patience=15)
        page.keyboard.press("t")


def test_nothing_of_another_symbol_is_drawn_while_one_loads(page):
    held = []
    page.route("**/api/v1/candles?*ETH*", lambda route: held.append(route))
    page.locator('#prices tr[data-symbol="ETH-USD"]').click()
    expect(page.locator("#selected-name")).to_have_text("ETH-USD")
    wait_until("the request", lambda: page.wait_for_timeout(50) or held)
    expect(page.locator("#readout .close")).to_have_count(0)
    held.pop().continue_()
    expect(page.locator("#readout .close")).to_be_visible()


def test_the_title_is_of_now_without_a_frame_and_tells_doubt(server, open_page, watch):
    watch.allowed.append(NETWORK)
    service, url = server.other()
    hidden = "window.requestAnimationFrame = () => 0"
    page = open_page("/?symbol=BTC-USD&source=coinbase", url=url, wait=False, before=lambda page: page.add_init_script(hidden))
    server.topics.health("coinbase")
    for price in ("84401.01", "84402.02"):
        server.topics.tick("BTC-USD", "coinbase", price)
        expect(page).to_have_title(re.compile(rf"^8{price[1]},{price[2:5]}\.{price[6:]}\d* BTC-USD"))
    service.stop()
    expect(page).to_have_title(re.compile(r"^\? 84,402\.02\d* BTC-USD"))


def test_gaps_are_asked_for_as_far_back_as_the_chart_goes(server, open_page):
    """A first page of half an hour, so that the gap, which is 40 minutes old, lies before it."""

    def newest(route):
        answer = route.fetch().json()
        route.fulfill(json={**answer, "candles": answer["candles"][-30:]})

    asked = []

    def before(page):
        page.route(lambda url: "/api/v1/candles" in url and "from=" not in url, newest)
        page.on("request", lambda request: asked.append(query(request.url)) if "/api/v1/gaps" in request.url else None)

    page = open_page("/?symbol=BTC-USD&source=coinbase", before=before)
    expect(page.locator("#readout .close")).to_be_visible()
    began = server.began_us
    wait_until("the newest gaps to be asked for", lambda: page.wait_for_timeout(50) or asked)
    assert all(int(each["from"]) > began - 38 * MINUTE and each["source"] == "coinbase" for each in asked)
    box = page.locator("#chart").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    asked.clear()

    def covers_the_gap():
        page.mouse.wheel(-900, 0)
        page.wait_for_timeout(100)
        return any(int(each["from"]) < began - 42 * MINUTE and int(each["to"]) > began - 38 * MINUTE for each in asked)

    wait_until("the gaps before them", covers_the_gap, patience=20)


def test_scrolling_back_works_after_a_hurried_choice(page):
    held = []
    page.route(lambda url: "/api/v1/candles" in url and "source=coinbase" in url and "from=" in url, lambda route: held.append(route))
    box = page.locator("#chart").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 100)

    def scroll_back():
        page.mouse.wheel(-900, 0)
        page.wait_for_timeout(100)

    wait_until("older candles to be asked for", lambda: scroll_back() or held)
    page.select_option("#source", "kraken")
    expect(page.locator("#readout .close")).to_have_text(re.compile(r"\.5$"))
    wait_until("the end of what there is", lambda: scroll_back() or page.locator("#chart-note").inner_text() == "There is nothing older.")


def test_a_market_that_is_closed_shows_its_last_candles(server, open_page):
    server.topics.tick("CLOSED-USD", "coinbase", "17.25", now_us() - 15 * 60 * MINUTE)
    page = open_page("/?symbol=CLOSED-USD&source=coinbase")
    expect(page.locator("#readout .close")).to_have_text("C 17.25")


def test_a_compared_source_that_fails_leaves_the_chart(open_page, watch):
    watch.allowed.append(NETWORK)

    def before(page):
        page.route(re.compile(r"/api/v1/candles\?.*source=kraken"), lambda route: route.fulfill(status=503, json={"error": "it sleeps"}))

    page = open_page("/?symbol=BTC-USD&source=coinbase&compare=kraken", before=before)
    expect(page.locator("#readout .close")).to_be_visible()
    expect(page.locator("#chart-note")).to_contain_text("kraken: it sleeps")


def test_a_corrected_tick_is_corrected_and_one_that_is_taken_back_goes(server, open_page):
    page = open_page("/?symbol=BTC-USD&source=coinbase")
    tick, ticks = server.topics.tick, page.locator("#ticks tr")
    first = tick("FIX-USD", "coinbase", "10.01")
    page.locator("#prices tr[data-symbol='FIX-USD']").click()
    at = tick("FIX-USD", "coinbase", "10.02", first + 1000, event_id=identity("wrong"))
    expect(ticks).to_have_count(2)
    tick("FIX-USD", "coinbase", "10.07", at, event_id=identity("wrong"), revision=1)
    expect(ticks.first).to_contain_text("10.07")
    expect(ticks).to_have_count(2)
    tick("FIX-USD", "coinbase", "10.07", at, event_id=identity("wrong"), revision=2, retracted=True)
    expect(ticks).to_have_count(1)
    expect(ticks.first).to_contain_text("10.01")


def test_an_implied_price_goes_with_its_rate(server, open_page):
    server.topics.tick("JPY-USD", "awesomeapi", "0.0065", kind="FX")
    server.topics.tick("ZZZ-JPY", "coinbase", "1000.5")
    page = open_page("/?symbol=BTC-USD&source=coinbase&currency=USD")
    implied = page.locator('#prices tr[data-symbol="ZZZ-JPY"] .implied')
    expect(implied).to_have_text(re.compile(r"6\.50325 USD$"))
    server.topics.tick("JPY-USD", "awesomeapi", "0.0071", kind="FX")
    expect(implied).to_have_text(re.compile(r"7\.10355 USD$"))


def test_how_far_the_page_is_live_stays_in_sight_on_a_phone(open_page):
    page = open_page("/?symbol=BTC-USD&source=coinbase", width=390, height=844)
    expect(page.locator("#readout .close")).to_be_visible()
    page.locator("#sources").scroll_into_view_if_needed()
    expect(page.locator("h1")).not_to_be_in_viewport()
    expect(page.locator("#connection")).to_be_in_viewport(ratio=1)


def test_a_link_has_both_ends_of_the_view(page):
    box = page.locator("#chart").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    page.mouse.wheel(-300, 0)
    page.mouse.wheel(0, -600)
    expect(page).to_have_url(re.compile("from=.*to="))
    page.wait_for_timeout(500)
    address, ends = page.url, query(page.url)
    page.reload()
    expect(page.locator("#readout .close")).to_be_visible()
    assert page.url == address
    page.locator("#share").click()
    with page.expect_download() as waiting:
        page.locator("#chart-json").click()
    with open(waiting.value.path()) as file:
        starts = [each["start_us"] for each in json.load(file)]
    for end, start in ((ends["from"], starts[0]), (ends["to"], starts[-1])):
        told = datetime.datetime.fromisoformat(end).timestamp() * 1e6
        assert abs(told - start) <= 2 * MINUTE, (ends, iso(starts[0]), iso(starts[-1]))


def test_a_replay_goes_on_where_it_was(server, open_page, watch):
    watch.allowed.append(NETWORK)
    sockets = []

    def route(socket):
        sockets.append(socket)
        socket.connect_to_server()

    began = server.began_us - 5 * MINUTE
    page = open_page(f"/replay?from={iso(began)}&speed=60", wait=False,
                     before=lambda page: page.route_web_socket(re.compile("/ws/replay"), route))
    expect(page.locator("#connection")).to_have_attribute("data-state", "replay")
    position = page.locator("#replay-at")
    first = position.inner_text()
    expect(position).not_to_have_text(first)
    # The replayed time is no other clock.
    expect(page.locator("#clock")).to_be_empty()
    sockets[0].close()
    wait_until("another socket", lambda: page.wait_for_timeout(100) or len(sockets) > 1)
    asked = query(sockets[1].url)
    assert int(asked["from"]) > began and asked["speed"] == "60"
    expect(page.locator("#connection")).to_have_attribute("data-state", "replay")

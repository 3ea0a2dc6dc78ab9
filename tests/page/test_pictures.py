"""Not part of the tests: the pictures in docs/ and what the page costs the browser, each by a word of its own (run.sh)."""

import io
import math
import os
import random
import threading
import time
from pathlib import Path

import frames
import pytest
from conftest import MINUTE
from PIL import Image
from playwright.sync_api import expect
from topics import now_us

DOCS = Path(__file__).resolve().parents[2] / "docs"
PRICES = {"ADA": 0.41, "AVAX": 13.2, "BTC": 84_600, "DOGE": 0.139, "DOT": 2.31, "ETH": 2_750, "LINK": 12.1, "LTC": 82.4, "SOL": 128.4,
          "UNI": 6.12, "XRP": 1.93}


class Market:
    """Prices that wander, seeded, over a day: a tick a minute, and three in the last hours."""

    def __init__(self, topics, more):
        self.topics, self.chance = topics, random.Random(7)
        self.series, self.opened, self.worth = {}, {}, {}
        for base, price in {**PRICES, **{f"M{number}": 10 + number for number in range(more)}}.items():
            for source, share in (("coinbase", 1.0), ("kraken", 1.0004)):
                if source == "coinbase" or base in ("BTC", "ETH", "SOL", "XRP"):
                    self.series[f"{base}-USD", source] = price * share
                    self.worth[f"{base}-USD", source] = price**0.5 * 4e6 / (2.5 if source == "kraken" else 1)

    def step(self, key, at_us=None, scale=0.0004, size=1.0, **more):
        symbol, source = key
        # Where two exchanges have a symbol, the second is never far from the first.
        first = self.series[symbol, "coinbase"] * 1.0004 if source == "kraken" else self.series[key]
        price = self.series[key] = first * (1 + self.chance.gauss(0, scale / (4 if source == "kraken" else 1)))
        change = price / self.opened.setdefault(key, price) - 1
        digits = max(2, 5 - int(math.log10(price)))
        self.topics.tick(symbol, source, f"{price:.{digits}f}", at_us, wait=False, quantity=f"{self.chance.expovariate(2 / size):.5f}",
                         bid=f"{price * 0.99995:.{digits}f}", ask=f"{price * 1.00005:.{digits}f}", volume_24h=f"{self.worth[key] / price:.4f}",
                         change_24h_pct=f"{100 * change:.4f}", **more)

    def history(self, minutes):
        now = now_us()
        for minute in range(minutes, 0, -1):
            for key in self.series:
                for second in (3, 21, 44) if minute <= 180 else (3,):
                    # A gap has no prices.
                    if not (key == ("BTC-USD", "coinbase") and 52 > minute > 45):
                        self.step(key, now - minute * MINUTE + second * 1_000_000, origin="RECEIVED", received_at=now_us())
        self.topics.gap("picture", "coinbase", ["BTC-USD"], now - 52 * MINUTE, now - 46 * MINUTE)
        self.topics.alert("picture", "BTC-USD", "coinbase", "BTC-USD at coinbase is 3.1 % below its mean of 20 ticks", at_us=now - 12 * MINUTE)
        self.topics.alert("picture 2", "ETH-USD", "coinbase", "ETH-USD at coinbase rose 5 % in 5 minutes", "CRITICAL", now - 31 * MINUTE)
        self.topics.flush()

    def run(self, stop, rate):
        keys = list(self.series)
        began, count = time.monotonic(), 0
        # As much in a minute as the three ticks of a minute of history.
        size = 3 * len(keys) / (60 * rate)
        while not stop.is_set():
            self.step(keys[count % len(keys)], scale=0.0001, size=size)
            count += 1
            self.topics.producer.poll(0)
            time.sleep(max(0.0, began + count / rate - time.monotonic()))


@pytest.fixture
def market(server):
    """A market that moves while the test runs."""
    stop, threads = threading.Event(), []

    def start(rate, minutes, more=0):
        market = Market(server.topics, more)
        market.history(minutes)
        threads.append(threading.Thread(target=market.run, args=(stop, rate)))
        threads[0].start()
        return market

    yield start
    stop.set()
    for thread in threads:
        thread.join()


FIRST_PRICE = """
    new MutationObserver((_, observer) => {
        if (document.querySelector('#prices tr .digits') === null) return;
        window.firstPrice = performance.now();
        observer.disconnect();
    }).observe(document, {subtree: true, childList: true});
"""

# What the page may cost: scripts in a frame of a core's time, and how long a reader waits for a price on a machine with nothing else to do.
SCRIPT_MS = 8
FIRST_PRICE_MS = 500
LOOKS = {
    "page-light": {"color_scheme": "light"},
    "page-dark": {"color_scheme": "dark"},
    "page-pt-BR": {"color_scheme": "light", "locale": "pt-BR", "address": "&currency=BRL&compare=kraken"},
    "page-phone": {"color_scheme": "dark", "width": 390, "height": 844},
}


def few_colours(picture):
    """A third of the size: the most frequent colours as they are, and of the rare ones, such as a line's, those furthest apart."""
    found = sorted(picture.getcolors(picture.width * picture.height), reverse=True)[:128]
    apart = picture.quantize(128, method=Image.Quantize.MAXCOVERAGE).getpalette()[: 3 * 128]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, colour in found for part in colour] + apart)
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


@pytest.mark.screenshots
def test_pictures(server, open_page, market):
    folder = Path(os.environ.get("PICTURES", DOCS))
    server.topics.tick("USD-BRL", "awesomeapi", "5.3391", kind="FX")
    server.topics.tick("BTC-USD", "coingecko", "84123.3358936566", kind="REFERENCE", market_cap="1659000000000.25")
    market(rate=60, minutes=24 * 60 + 5)
    for source in ("coinbase", "kraken", "coingecko", "awesomeapi"):
        server.topics.health(source)
    # What was written of the past is not to be among the delays of the last minute.
    time.sleep(75)
    for name, look in LOOKS.items():
        look = dict(look)
        page = open_page("/?symbol=BTC-USD&source=coinbase" + look.pop("address", ""), **look)
        expect(page.locator("#readout .close")).to_be_visible()
        for source in ("coinbase", "kraken", "coingecko", "awesomeapi"):
            server.topics.health(source)
        page.wait_for_timeout(6000)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        few_colours(picture).save(folder / f"{name}.png", optimize=True)


@pytest.mark.measure
def test_how_long_a_first_price_takes(server, browser, open_page, market):
    """Of 50 series, a tick a second each: what the machine does besides is little."""
    market(rate=50, minutes=10, more=35)
    loads = []
    for _ in range(5):
        page = open_page("/?symbol=M1-USD&source=coinbase", before=lambda page: page.add_init_script(FIRST_PRICE))
        loads.append(page.evaluate("window.firstPrice"))
        page.close()
    print(f"load to first price: {min(loads):.0f} to {max(loads):.0f} ms")
    assert sorted(loads)[2] < FIRST_PRICE_MS


@pytest.mark.measure
def test_what_the_page_costs(server, browser, open_page, market):
    """50 series at 20 updates a second each, with 5,000 candles in sight."""
    moving = market(rate=1000, minutes=10, more=35)
    assert len(moving.series) >= 50
    now = now_us()
    for second in range(5200, 0, -1):
        server.topics.tick("M1-USD", "coinbase", f"{11 + math.sin(second / 90):.2f}", now - second * 1_000_000, wait=False)
        if second % 500 == 0:
            server.topics.flush()
    server.topics.flush()
    found = []
    from_us = now - 4900 * 1_000_000
    iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(from_us // 1_000_000))
    for what, address in (("the usual chart", "/?symbol=M1-USD&source=coinbase&tf=1s"),
                          ("5,000 candles", f"/?symbol=M1-USD&source=coinbase&tf=1s&from={iso}")):
        page = open_page(address)
        expect(page.locator("#readout .close")).to_be_visible()
        if what != "the usual chart":
            box = page.locator("#chart").bounding_box()
            page.mouse.move(box["x"] + 5, box["y"] + 60)
            for _ in range(40):
                page.mouse.wheel(0, 400)
        page.wait_for_timeout(3000)
        updates = page.evaluate("""() => new Promise(done => {
            let count = 0;
            const observer = new MutationObserver(list => count += list.length);
            observer.observe(document.getElementById('prices'), {subtree: true, attributes: true, childList: true, characterData: true});
            setTimeout(() => done(count), 2000);
        })""")
        cost = frames.measure(browser, page, 6)
        values = cost["frames"]
        picked = ", ".join(f"p{share * 100:g} {frames.share(values, share):.1f}" for share in (0.5, 0.95, 0.99))
        print(f"{what}: {len(values)} frames, script ms {picked}, most {max(values):.1f}; tasks over 50 ms: {len(cost['long_tasks'])};"
              f" {updates // 2} changes of the watchlist a second")
        page.close()
        found.append((frames.share(values, 0.99), cost["long_tasks"]))
    assert all(most < SCRIPT_MS and long == [] for most, long in found), found

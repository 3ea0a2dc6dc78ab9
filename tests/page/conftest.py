import contextlib
import re
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "end_to_end"))
from services import World, free_port, wait_until  # noqa: E402
from topics import Topics, now_us  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MINUTE = 60_000_000
# Nothing but the topics: neither a database nor a lake.
ALONE = {"DATABASE_URL": "", "S3_BUCKET": ""}
expect.set_options(timeout=float(__import__("os").environ.get("PATIENCE", 20)) * 1000)


def pytest_addoption(parser):
    parser.addoption("--screenshots", action="store_true", help="write docs/page-*.png")
    parser.addoption("--measure", action="store_true", help="measure what the page costs the browser")


def pytest_collection_modifyitems(config, items):
    asked = [option for option in ("screenshots", "measure") if config.getoption(option)]

    def is_wanted(item):
        own = [option for option in ("screenshots", "measure") if item.get_closest_marker(option)]
        return any(option in asked for option in own) if own or asked else True

    items[:] = [item for item in items if is_wanted(item)]


def pytest_configure(config):
    config.addinivalue_line("markers", "screenshots: only with --screenshots")
    config.addinivalue_line("markers", "measure: only with --measure")


class Server:
    """The dashboard over a stack of its own, with a market that was written by hand."""

    def __init__(self, world, has_history):
        self.world = world
        self.topics = Topics(world.environment["KAFKA_BOOTSTRAP_SERVERS"])
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.began_us = now_us()
        if has_history:
            self._write_history()
        self.service = world.start("dashboard", DASHBOARD_ADDR=f"127.0.0.1:{self.port}", **ALONE).ready()
        if has_history:
            wait_until("the prices", lambda: "BTC-USD" in self.get("/api/v1/latest"))

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read().decode()

    def other(self):
        """Another dashboard over the same topics, to be stopped and started."""
        port = free_port()
        service = self.world.start("dashboard", DASHBOARD_ADDR=f"127.0.0.1:{port}", **ALONE).ready()
        return service, f"http://127.0.0.1:{port}"

    def _write_history(self):
        """Two hours of minutes of one series, and the newest of some others."""
        now = now_us()
        topics = self.topics
        for minute in range(120, 0, -1):
            at = now - minute * MINUTE
            for step, (coinbase, kraken) in enumerate(((0, 3), (7, 5), (-5, 1))):
                price = 84_000 + (minute * 37) % 211 + coinbase
                topics.tick("BTC-USD", "coinbase", f"{price}.07", at + step * 1_000_000, wait=False)
                topics.tick("BTC-USD", "kraken", f"{price + kraken}.5", at + step * 1_000_000, wait=False)
        topics.tick("BTC-USD", "coingecko", "84123.3358936566", now, "REFERENCE", market_cap="1659000000000.25", change_24h_pct="-0.5")
        topics.tick("ETH-USD", "coinbase", "2750.25", now, volume_24h="250000.5", change_24h_pct="-2.5")
        topics.tick("SOL-USD", "coinbase", "128.4", now, change_24h_pct="0.1")
        topics.tick("USD-BRL", "awesomeapi", "5.3391", now, "FX")
        for source in ("coinbase", "kraken", "coingecko", "awesomeapi"):
            topics.health(source)
        topics.alert("first", "BTC-USD", "coinbase", "BTC-USD is 3.1 % below its mean", at_us=now - 20 * MINUTE)
        topics.gap("closed", "coinbase", ["BTC-USD"], now - 42 * MINUTE, now - 38 * MINUTE)


@pytest.fixture(scope="session")
def server(request):
    folder = Path(tempfile.mkdtemp(prefix="tickstream-page-"))
    folder.chmod(0o755)
    world = World(folder)
    try:
        has_own = request.config.getoption("screenshots") or request.config.getoption("measure")
        yield Server(world, has_history=not has_own)
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


class Watch:
    """What must never happen on any page: an error in the console, a request that leaves the host, a dialog from a script."""

    def __init__(self):
        self.complaints, self.allowed = [], []

    def attach(self, page):
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._request(request.url))
        page.on("websocket", lambda socket: self._request(socket.url))

    def _request(self, url):
        if not re.match(r"(https?|ws)://127\.0\.0\.1:|blob:|data:", url):
            self.complaints.append(f"a request left the host: {url}")

    def left(self):
        return [text for text in self.complaints if not any(re.search(allowed, text) for allowed in self.allowed)]


@pytest.fixture
def watch():
    watch = Watch()
    yield watch
    assert watch.left() == []


@pytest.fixture
def open_page(server, browser, watch):
    """Opens the page in a browser profile of its own."""
    contexts = []

    def open_page(address="/", wait=True, width=1440, height=900, url=None, before=None, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, locale=options.pop("locale", "en-US"), **options)
        contexts.append(context)
        page = context.new_page()
        watch.attach(page)
        if before:
            before(page)
        if address is None:
            return page
        page.goto((url or server.url) + address)
        if wait:
            expect(page.locator("#connection")).to_have_attribute("data-state", re.compile("live|replay|polling"))
            expect(page.locator("#prices tr").first).to_be_visible()
            expect(page.locator("#prices")).to_have_attribute("data-ready", "")
        return page

    yield open_page
    for context in contexts:
        with contextlib.suppress(Exception):
            context.close()


@pytest.fixture
def page(open_page):
    page = open_page("/?symbol=BTC-USD&source=coinbase")
    expect(page.locator("#readout .close")).to_be_visible()
    return page

"""For whom the page is: languages, currencies, themes, keys, screen readers, phones, and what is taken away from it."""

import csv
import io
import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import expect
from services import wait_until
from topics import now_us

AXE = Path(__file__).resolve().parents[2] / "dashboard/web/node_modules/axe-core/axe.min.js"
BTC = '#prices tr[data-symbol="BTC-USD"][data-source="coinbase"]'


def test_portuguese_by_the_browser_and_by_choice(open_page):
    page = open_page("/?symbol=BTC-USD&source=coingecko", locale="pt-BR")
    expect(page.get_by_role("button", name="Último")).to_be_visible()
    expect(page.locator("#connection-word")).to_have_text("ao vivo")
    expect(page.locator("#selected-price")).to_have_text("84.123,336")
    expect(page.locator("#selected-price")).to_have_attribute("title", "84.123,3358936566")
    assert page.evaluate("document.documentElement.lang") == "pt-BR"
    page.select_option("#language", "en")
    expect(page.get_by_role("button", name="Last", exact=True)).to_be_visible()
    expect(page.locator("#selected-price")).to_have_attribute("title", "84,123.3358936566")
    expect(page).to_have_url(re.compile("lang=en"))


def test_an_implied_price_is_exact_and_says_so(server, page):
    for source in ("coinbase", "awesomeapi"):
        server.topics.health(source)
    page.select_option("#currency", "BRL")
    price = Decimal(page.locator(BTC).get_attribute("data-price"))
    implied = page.locator(f"{BTC} .implied")
    expect(implied).to_have_text(f"≈ {(price * Decimal('5.3391')).quantize(Decimal('0.01')):,} BRL")
    implied.hover()
    expect(implied).to_have_attribute("title", re.compile(r"USD-BRL = 5\.3391 \(awesomeapi"))
    expect(page.locator("#selected-price + .note")).to_contain_text("implied")
    expect(page).to_have_url(re.compile("currency=BRL"))
    expect(page.locator('#prices tr[data-symbol="USD-BRL"] .implied')).to_be_empty()


def test_light_and_dark(open_page):
    ground = "getComputedStyle(document.body).backgroundColor"
    page = open_page(color_scheme="dark")
    dark = page.evaluate(ground)
    page.locator("#theme").click()
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    expect(page.locator("#prices tr").first).to_be_visible()
    assert page.evaluate(ground) == light


def test_keys(page):
    page.keyboard.press("?")
    expect(page.locator("#help-dialog")).to_be_visible()
    expect(page.locator("#help-dialog")).to_contain_text("filter the prices")
    page.keyboard.press("Escape")
    expect(page.locator("#help-dialog")).to_be_hidden()
    expect(page.locator("#selected-name")).to_have_text("BTC-USD")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#source")).to_have_value("coingecko")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#source")).to_have_value("coinbase")
    page.locator(f"{BTC} button").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator('#prices tr[data-source="coingecko"] button')).to_be_focused()


def test_keys_are_left_to_what_scrolls_and_what_chooses(page):
    page.keyboard.press("t")
    page.locator("#bars").focus()
    page.keyboard.press("ArrowDown")
    wait_until("the table to scroll", lambda: page.wait_for_timeout(50) or page.evaluate("document.getElementById('bars').scrollTop > 0"))
    expect(page.locator("#source")).to_have_value("coinbase")
    page.locator("#source").focus()
    page.keyboard.press("k")
    page.keyboard.press("1")
    expect(page).not_to_have_url(re.compile("tf="))
    page.keyboard.press("Escape")
    expect(page.locator("#source")).not_to_be_focused()
    page.keyboard.press("1")
    expect(page).to_have_url(re.compile("tf=1s"))


def test_keys_of_one_letter_can_be_turned_off(page):
    page.keyboard.press("?")
    page.get_by_label("Keys of one letter").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#source")).to_have_value("coingecko")
    expect(page.locator("#bars")).to_be_hidden()
    page.reload()
    page.locator("#help").click()
    page.get_by_label("Keys of one letter").check()
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    expect(page.locator("#bars")).to_be_visible()


def test_the_list_of_prices_is_one_stop_on_the_way(page):
    assert page.locator("#prices tr").count() > 3
    assert page.locator("#prices button:not([tabindex='-1'])").count() == 1
    expect(page.locator(f"{BTC} button")).to_have_attribute("tabindex", "0")
    page.fill("#filter", "ETH")
    expect(page.locator("#prices tr")).to_have_count(1)
    expect(page.locator("#prices button")).to_have_attribute("tabindex", "0")


def test_the_focus_stays_where_the_reader_is(server, page):
    """A list that is sorted anew moves its rows; an alert comes above the one that is read."""
    page.get_by_role("button", name="Last", exact=True).click()
    sol = page.locator('#prices tr[data-symbol="SOL-USD"][data-source="coinbase"]')
    sol.get_by_role("button").focus()
    for price, is_first in (("900001.5", True), ("128.5", False)):
        server.topics.tick("SOL-USD", "coinbase", price)
        wait_until("another order", lambda: page.wait_for_timeout(100) or is_first == page.evaluate(
            "document.querySelector('#prices tr').dataset.symbol === 'SOL-USD'"))
        expect(sol.get_by_role("button")).to_be_focused()
    read = page.locator("#alerts li", has_text="below its mean").get_by_role("button")
    read.focus()
    server.topics.alert("above it", "ETH-USD", "coinbase", "one more alert")
    expect(page.locator("#alerts li").first).to_contain_text("one more alert")
    expect(read).to_be_focused()


def test_portuguese_reasons(server, open_page):
    page = open_page("/?symbol=BTC-USD&source=kraken", locale="pt-BR")
    age = page.locator('#prices tr[data-symbol="BTC-USD"][data-source="kraken"] .age')
    server.topics.gap("in words", "kraken", [], now_us(), reason="POLL_FAILED")
    expect(age).to_have_attribute("title", re.compile("lacuna: sem resposta"))
    server.topics.gap("in words", "kraken", [], now_us(), now_us(), reason="POLL_FAILED")
    server.topics.health("kraken", "FAILING")
    expect(age).to_have_attribute("title", re.compile("a fonte está falhando"))
    server.topics.health("kraken")
    expect(age).not_to_have_attribute("title", re.compile("a fonte está falhando"))
    expect(page.locator("#readout")).to_contain_text("Máx")


def test_a_screen_reader_hears_a_summary(page):
    expect(page.locator("#summary")).to_have_attribute("aria-live", "polite")
    expect(page.locator("#summary")).to_contain_text(re.compile(r"\d+ prices: .* BTC-USD from coinbase"))
    expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("Chart of BTC-USD from coinbase, 1m"))


@pytest.mark.parametrize("look", [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"width": 390, "height": 844}])
def test_axe_finds_no_serious_fault(open_page, look):
    page = open_page("/?symbol=BTC-USD&source=coinbase&compare=kraken&currency=BRL", **look)
    expect(page.locator("#readout .close")).to_be_visible()
    page.evaluate(AXE.read_text())
    for dialog in (None, "help", "share", "travel"):
        if dialog:
            page.locator(f"#{dialog}").click()
        violations = page.evaluate("axe.run(document)")["violations"]
        serious = [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations if each["impact"] in ("serious", "critical")]
        assert serious == [], dialog
        if dialog:
            page.keyboard.press("Escape")


@pytest.mark.parametrize("address", ["/?symbol=BTC-USD&source=coinbase", "/replay?from=-1m&speed=1&symbol=BTC-USD&source=coinbase"])
def test_axe_finds_no_serious_fault_in_the_table_and_in_a_replay(open_page, address):
    page = open_page(address)
    page.keyboard.press("t")
    expect(page.locator("#bars tbody tr").first).to_be_visible()
    page.evaluate(AXE.read_text())
    violations = page.evaluate("axe.run(document)")["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations if each["impact"] in ("serious", "critical")] == []


def test_a_phone_has_no_sideways_scrolling(open_page):
    page = open_page("/?symbol=BTC-USD&source=coinbase", width=390, height=844)
    expect(page.locator("#readout .close")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for part in ("#selected-price", "#chart", BTC, "#alerts", "#sources"):
        expect(page.locator(part)).to_be_visible()


def download(page, button):
    with page.expect_download() as waiting:
        page.locator(button).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_text()


def test_what_is_shown_can_be_taken_away(page):
    page.fill("#filter", "BTC")
    page.locator("#share").click()
    name, text = download(page, "#chart-csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert name == "BTC-USD_coinbase_1m.csv" and len(rows) > 50
    assert {row["source"] for row in rows} == {"coinbase"} and re.fullmatch(r"84\d{3}\.07", rows[0]["close"])
    name, text = download(page, "#chart-json")
    assert [each["close"] for each in json.loads(text)][:50] == [row["close"] for row in rows][:50]
    page.keyboard.press("Escape")
    page.select_option("#compare", "kraken")
    expect(page.locator("#readout .compared").first).to_be_visible()
    page.locator("#share").click()
    _, text = download(page, "#chart-csv")
    assert {row["source"] for row in csv.DictReader(io.StringIO(text))} == {"coinbase", "kraken"}
    _, text = download(page, "#table-json")
    assert {(each["symbol"], each["source"]) for each in json.loads(text)} == {("BTC-USD", s) for s in ("coinbase", "coingecko", "kraken")}
    _, text = download(page, "#table-csv")
    assert "84123.3358936566" in text


def test_a_link_can_be_copied(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#share").click()
    page.locator("#copy-link").click()
    expect(page.locator("#shared")).to_have_text("The link is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_the_page_is_small_and_its_policy_strict(server, open_page):
    sizes = []
    page = open_page(None)
    page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"] + request.sizes()["responseHeadersSize"]))
    answer = page.goto(server.url)
    expect(page.locator("#readout .close")).to_be_visible()
    policy = answer.header_value("content-security-policy")
    assert "unsafe" not in policy and "default-src 'none'" in policy or "default-src 'self'" in policy
    files = page.evaluate("performance.getEntriesByType('resource').filter(e => !e.name.includes('/api/')).reduce((sum, e) => sum + e.transferSize, 0)")
    print(f"{files} bytes of files, {len(sizes)} requests")
    assert 50_000 < files < 150_000

"""The watchlist and what stands beside it: tiles, ticks, alerts, sources."""

import re
from decimal import Decimal

from conftest import MINUTE
from playwright.sync_api import expect
from topics import now_us


def row(page, symbol, source):
    return page.locator(f'#prices tr[data-symbol="{symbol}"][data-source="{source}"]')


def test_a_row_has_price_change_range_volume_line_and_age(page):
    cells = row(page, "BTC-USD", "coinbase")
    price = cells.get_attribute("data-price")
    cells.hover()
    expect(cells.locator(".digits")).to_have_attribute("title", f"{int(price.split('.')[0]):,}.{price.split('.')[1]}")
    expect(cells.locator(".digits")).to_have_text(re.compile(r"^8\d,\d{3}\.\d{2}"))
    expect(cells.locator(".change")).to_have_text("▲ +1.25%")
    expect(cells.locator(".change")).to_have_attribute("title", re.compile("^1.254 %"))
    high, low = (float(cells.locator(".wide").nth(i).inner_text().replace(",", "")) for i in (0, 1))
    assert 83_900 < low < high < 85_001
    worth = Decimal("11873.123456789") * Decimal(price)
    expect(cells.locator(".volume")).to_have_text(re.compile(r"^\d\.\d\dB|^\d{3}\.\d\dM"))
    expect(cells.locator(".volume")).to_have_attribute("title", f"11,873.123456789 BTC · {worth:,.18f}".rstrip("0").rstrip(".") + " USD")
    expect(cells.locator(".sparkline path")).to_have_attribute("d", re.compile("^M"))
    expect(cells.locator(".age")).to_have_text(re.compile(r"\d+[sm]"))
    expect(cells.locator(".badge")).to_have_text("coinbase")
    assert row(page, "BTC-USD", "kraken").count() == 1


def test_a_price_is_rounded_to_its_step_and_exact_on_hover(page):
    cells = row(page, "BTC-USD", "coingecko")
    assert cells.get_attribute("data-price") == "84123.3358936566"
    cells.hover()
    expect(cells.locator(".digits")).to_have_attribute("title", "84,123.3358936566")
    shown = cells.locator(".digits").inner_text().replace(",", "")
    assert len(shown) < len("84123.3358936566") and abs(float(shown) - 84123.3358936566) < 0.01


def test_a_change_flashes_with_an_arrow_and_noise_does_not(server, page):
    cells = row(page, "SOL-USD", "coinbase")
    for price, way, arrow in (("129.1", "rose", "▲"), ("127.9", "fell", "▼")):
        server.topics.tick("SOL-USD", "coinbase", price)
        expect(cells.locator(".digits")).to_have_text(re.compile(rf"^{re.escape(price)}"))
        expect(cells.locator(".price")).to_have_class(re.compile(way))
        expect(cells.locator(".arrow")).to_have_text(arrow)
    # Digits behind the eighth that counts are noise.
    server.topics.tick("SOL-USD", "coinbase", "127.900000000000000001")
    expect(cells).to_have_attribute("data-price", "127.900000000000000001")
    expect(cells.locator(".price")).to_have_class(re.compile("fell"))
    expect(cells.locator(".arrow")).to_have_text("▼")


def test_filter_by_slash_and_escape(page):
    page.keyboard.press("/")
    expect(page.locator("#filter")).to_be_focused()
    page.keyboard.type("btc kra")
    expect(page.locator("#prices tr")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(row(page, "ETH-USD", "coinbase")).to_be_visible()
    page.fill("#filter", "nothing like it")
    expect(page.locator("#empty")).to_be_visible()


def test_sorted_by_a_column(page):
    page.get_by_role("button", name="Last", exact=True).click()
    expect(page.locator('th[data-sort="last"]')).to_have_attribute("aria-sort", "descending")
    prices = [float(each.get_attribute("data-price")) for each in page.locator("#prices tr").all()]
    assert prices == sorted(prices, reverse=True)
    page.get_by_role("button", name="Last", exact=True).click()
    expect(page.locator('th[data-sort="last"]')).to_have_attribute("aria-sort", "ascending")


def test_tiles_have_exact_figures_and_say_whose(page):
    price = row(page, "BTC-USD", "coinbase").get_attribute("data-price")
    expect(page.locator("#selected-price")).to_have_attribute("data-price", price)
    expect(page.locator("#selected-volume")).to_have_attribute("title", "11,873.123456789 BTC")
    expect(page.locator("#selected-cap")).to_have_attribute("title", "1,659,000,000,000.25 USD")
    expect(page.locator("#selected-cap + .note")).to_have_text("as coingecko says")
    expect(page.locator("#selected-spread")).to_have_text(re.compile(r"^0\.020*$"))


def test_recent_ticks_are_newest_first(server, page):
    row(page, "ETH-USD", "coinbase").click()
    for price in ("2751.5", "2749.75"):
        server.topics.tick("ETH-USD", "coinbase", price, quantity="0.123456789")
    newest = page.locator("#ticks tr").first.locator("td")
    expect(newest.nth(1)).to_have_text("▼ 2,749.75")
    expect(newest.nth(2)).to_have_attribute("title", "0.123456789")
    expect(page.locator("#ticks tr").nth(1).locator("td").nth(1)).to_contain_text("2,751.5")


def test_alerts_come_and_lead_to_their_symbol(server, page):
    expect(page.locator("#alerts li")).not_to_have_count(0)
    server.topics.alert("eth fell", "ETH-USD", "coinbase", "ETH-USD fell <b>5 %</b>", "CRITICAL")
    newest = page.locator("#alerts li").first
    expect(newest).to_contain_text("ETH-USD fell <b>5 %</b>")
    expect(newest).to_have_attribute("data-severity", "critical")
    expect(page.locator("#summary")).to_contain_text("ETH-USD fell")
    newest.get_by_role("button").click()
    expect(page.locator("#selected-name")).to_have_text("ETH-USD")


def test_sources_show_state_and_every_hop(server, page):
    server.topics.health("coinbase", "FAILING")
    source = page.locator("#sources tr", has=page.get_by_role("rowheader", name="coinbase"))
    expect(source.locator(".state")).to_have_text("failing")
    server.topics.health("coinbase")
    expect(source.locator(".state")).to_have_text("OK")
    server.topics.tick("BTC-USD", "coinbase", "84200.07")
    for hop in range(2, 7):
        expect(source.locator("td, th").nth(hop).locator(".half")).to_have_text(re.compile(r"\d ?m?s$"))


def test_standing_still_and_not_knowing_are_told_apart(server, page):
    server.topics.gap("open", "kraken", [], now_us() - MINUTE)
    kraken = row(page, "BTC-USD", "kraken")
    expect(kraken).to_have_attribute("data-freshness", "unknown")
    expect(kraken.locator(".age")).to_have_attribute("title", re.compile("gap: disconnected"))
    server.topics.gap("open", "kraken", [], now_us() - MINUTE, now_us())
    server.topics.health("kraken")
    expect(kraken).to_have_attribute("data-freshness", "unchanged")


def test_simulated_is_said(server, page):
    expect(page.locator("#simulated")).to_be_hidden()
    server.topics.tick("TEST-USD", "simulated", "1.5")
    expect(page.locator("#simulated")).to_be_visible()
    server.topics.tick("TEST-USD", "simulated", "1.5", retracted=True)


def test_names_are_text_whatever_they_hold(server, page):
    name = "<img src=x onerror=alert(1)>-USD"
    server.topics.tick(name, "<b>evil</b>", "1.5")
    cells = page.locator("#prices tr", has_text="onerror")
    expect(cells.get_by_role("button")).to_have_text(name)
    expect(cells.locator(".badge")).to_have_text("<b>evil</b>")
    cells.click()
    expect(page.locator("#selected-name")).to_have_text(name)
    server.topics.tick(name, "<b>evil</b>", "1.6")
    expect(page.locator("#selected-price")).to_have_text("1.6")
    assert page.locator("body img[src=x], body b").count() == 0

"""What the sources said over some days, with everything that can happen to an event: late, told twice, corrected, moved in
time, moved to and fro, retracted, in no possible time, worth nothing; several sources of one symbol, exchange rates, gaps
closed and open."""

import datetime
import io
import itertools
import json
import random
import uuid
from decimal import Decimal
from pathlib import Path

import fastavro

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND
QUARANTINE_FROM = 1_230_940_800 * SECOND  # 2009-01-03

MARKETS = [
    ("coinbase", "BTC-USD", "TRADE", 67000.0),
    ("kraken", "BTC-USD", "TRADE", 66990.0),
    ("kraken", "BTC-USD", "TICKER", 67005.0),
    ("binance", "BTC-USD", "QUOTE", 67010.0),
    ("binance", "BTC-USDT", "TRADE", 67050.0),
    ("binance", "ETH-BTC", "TRADE", 0.035),
    ("binance", "ETH-USDT", "TRADE", 2345.0),
    ("mercado", "BTC-BRL", "TRADE", 340500.0),
    ("coingecko", "BTC-BRL", "REFERENCE", 340000.0),
    ("coingecko", "BTC-BRL", "FX_IMPLIED", 341000.0),
    ("awesome", "USD-BRL", "FX", 5.1),
]
DENSE_HOURS = 5
HISTORY_DAYS = 5


def encoder(name):
    """Single-object encoding by fastavro; gives the bytes of a dict."""
    text = json.loads((SCHEMAS / f"{name}.avsc").read_text())
    canonical = fastavro.schema.to_parsing_canonical_form(text)
    header = b"\xc3\x01" + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
    schema = fastavro.parse_schema(text)

    def encode(value):
        body = io.BytesIO()
        fastavro.schemaless_writer(body, schema, value)
        return header + body.getvalue()

    return encode


def midnight(now):
    return now - now % DAY


def identity(*words):
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, words))).bytes


class Market:
    """Ticks in the order in which they are published, in two waves: the second corrects the first."""

    def __init__(self, now, seed):
        self.now, self.chance = now, random.Random(seed)
        # The dense hours begin in the evening of the day before and reach into this one, perhaps a little ahead of the clock.
        self.dense = midnight(now) - 3 * HOUR
        self.first, self.second = [], []
        self.history()
        self.trading(2500)
        self.impossible()
        self.worthless()
        self.poison()

    def tick(self, key, market, at, **other):
        source, symbol, kind, level = market
        base, quote = symbol.split("-")
        digits = self.chance.randint(2, 10)
        price = Decimal(repr(round(level * (1 + self.chance.gauss(0, 0.004)), digits)))
        traded = kind == "TRADE"
        tick = dict.fromkeys(("bid", "ask", "volume_24h", "quote_volume_24h", "market_cap", "change_24h_pct", "sequence",
                              "trade_id", "previous_event_time", "previous_symbol", "fx_age_ms"))
        return {
            **tick, "event_id": identity(source, key), "revision": 0, "source": source, "symbol": symbol, "base": base,
            "quote": quote, "kind": kind, "price": price,
            "quantity": Decimal(self.chance.randint(1, 10**14)).scaleb(-18) if traded else None,
            "event_time": at, "event_time_origin": "SOURCE" if self.chance.random() < 0.8 else "RECEIVED",
            "received_at": at + self.chance.randint(1_000, 2 * SECOND), "source_symbol": symbol,
            "payload_id": identity("payload", key), "retracted": False, **other,
        }

    def history(self):
        """A close an hour for some days: enough to forecast from."""
        start = self.dense - HISTORY_DAYS * DAY
        for hour in range(HISTORY_DAYS * 24):
            at = start + hour * HOUR + 30 * MINUTE
            self.first.append(self.tick(f"history {hour}", MARKETS[8], at))
            self.first.append(self.tick(f"history {hour}", MARKETS[10], at))

    def trading(self, count):
        for number in range(count):
            market = self.chance.choice(MARKETS)
            at = self.dense + self.chance.randrange(DENSE_HOURS * HOUR)
            if market == MARKETS[10] and HOUR <= at - self.dense < 4 * HOUR:
                continue  # a rate that does not move is not told again
            if number % 20 == 0:
                at -= at % (10 * MINUTE)  # on the edge of every kind of bucket, and several at once
            tick = self.tick(number, market, at)
            fate = self.chance.random()
            if fate < 0.02:
                tick["event_time"] = at - 3 * DAY + self.chance.randrange(HOUR)
                self.second.append(tick)  # three days late
                continue
            self.first.append(tick)
            later = self.chance.choice([self.first, self.second])
            if fate < 0.07:
                # Told again, perhaps with another price: the first stays.
                later.append({**tick, "price": tick["price"] + self.chance.randint(0, 1)})
            elif fate < 0.12:
                later.append({**tick, "revision": 1, "price": tick["price"] * 2})
            elif fate < 0.16:
                moved = at + self.chance.choice([1, HOUR, -DAY, 10 * MINUTE])
                later.append({**tick, "revision": 1, "event_time": moved, "previous_event_time": at})
            elif fate < 0.18:
                later.append({**tick, "revision": 1, "retracted": True})
            elif fate < 0.20:
                moved = {**tick, "revision": 1, "event_time": at + HOUR, "previous_event_time": at}
                back = {**moved, "revision": 2, "event_time": at, "previous_event_time": at + HOUR}
                later.extend([moved, back])
            elif fate < 0.21:
                # The correction overtakes what it corrects.
                self.first.pop()
                self.first.append({**tick, "revision": 1, "price": tick["price"] + 5})
                later.append(tick)
            elif fate < 0.22:
                later.append({**tick, "revision": 1, "symbol": "BTC-EUR", "quote": "EUR", "previous_symbol": tick["symbol"]})
        # An hour of a source that is emptied: what was written of it must go.
        alone = [self.tick(f"alone {n}", ("lonely", "XMR-USD", "TRADE", 150.0), self.dense - 40 * HOUR + n) for n in range(3)]
        self.first.extend(alone)
        self.second.extend({**tick, "revision": 1, "retracted": True} for tick in alone)

    def impossible(self):
        times = [0, QUARANTINE_FROM - 1, 4_102_444_800 * SECOND, self.now + 25 * HOUR, -(10**17)]
        for wave in (self.first, self.second):
            for at in times:
                key = f"impossible {at} {wave is self.first}"
                wave.append(self.tick(key, MARKETS[0], at, received_at=self.now))
        self.moved_to_impossible()
        self.first.append(self.tick("the first day", MARKETS[0], QUARANTINE_FROM, received_at=self.now))
        self.second.append(self.tick("tomorrow", MARKETS[0], self.now + 23 * HOUR, received_at=self.now))

    def moved_to_impossible(self):
        """A refused move alone changes nothing; a sound one behind it takes the event away from where it stood, whether one or
        two were refused before it, and wherever it leads."""
        never, nowhere = 4_102_444_800 * SECOND, 1000
        ways = [[never], [never, HOUR], [never, nowhere, HOUR], [nowhere, 0]]
        waves = [(self.first, self.first), (self.first, self.second), (self.second, self.second)]
        for number, (way, (earlier, last)) in enumerate(itertools.product(ways, waves)):
            at = self.dense + number * MINUTE
            told = self.tick(f"moved to impossible {number}", MARKETS[0], at)
            self.first.append(told)
            for revision, to in enumerate(way, start=1):
                moved = to if to in (never, nowhere) else at + to
                told = {**told, "revision": revision, "event_time": moved, "previous_event_time": told["event_time"]}
                (last if revision == len(way) else earlier).append(told)

    def worthless(self):
        """Prices of nothing, as a producer of another's might let them through: a source that says no other, and one whose last
        trade of an hour is one."""
        for at in range(self.dense, self.dense + DENSE_HOURS * HOUR, 7 * MINUTE):
            self.first.append(self.tick(f"worthless {at}", ("foreign", "BTC-USD", "TRADE", 1.0), at, price=Decimal(0)))
        self.first.append(self.tick("worthless", MARKETS[1], self.dense + 3 * HOUR - 1, price=Decimal(0)))

    def poison(self):
        """Quantities whose sum no DECIMAL(38,18) holds, in one minute and in two minutes of an hour."""
        for number, at in enumerate((0, 1, 20 * MINUTE, 21 * MINUTE)):
            market = ("poison", "PSN-USD", "TRADE", 3.0)
            quantity = Decimal(95 * 10**18) if at < MINUTE else Decimal(60 * 10**18)
            self.first.append(self.tick(f"poison {number}", market, self.dense + at, quantity=quantity))

    def gaps(self):
        """Openings and closings, out of order now and then; one is never closed."""
        gaps = []
        for number in range(40):
            source = self.chance.choice(["coinbase", "binance", "kraken", "silent"])
            started = self.dense + self.chance.randint(-1, 60 * DENSE_HOURS) * MINUTE
            if self.chance.random() < 0.5:
                started += self.chance.randrange(MINUTE)
            length = self.chance.choice([0, SECOND, MINUTE, 2 * MINUTE, 30 * MINUTE])
            opening = {
                "id": identity("gap", number), "source": source,
                "symbols": self.chance.choice([[], ["BTC-USD"], ["ETH-BTC", "BTC-USDT"]]), "reason": "DISCONNECTED",
                "started_at": started, "ended_at": None, "detail": "lost, then found",
            }
            told = [opening]
            if number != 7:
                told.append({**opening, "ended_at": started + length})
                if self.chance.random() < 0.3:
                    told.append({**opening, "ended_at": started + length + SECOND})
                if self.chance.random() < 0.3:
                    told.reverse()
            gaps.extend(told)
        last = {**gaps[0], "id": identity("gap", "open"), "source": "awesome", "symbols": [], "ended_at": None}
        gaps.append({**last, "started_at": self.dense + 4 * HOUR + 30 * MINUTE})
        of_all = {**last, "id": identity("gap", "of all"), "source": "*", "started_at": self.dense + 3 * HOUR}
        gaps.append({**of_all, "ended_at": self.dense + 3 * HOUR + 7 * MINUTE})
        midnight = {**last, "id": identity("gap", "over midnight"), "source": "coinbase", "started_at": self.dense + 165 * MINUTE}
        gaps.append({**midnight, "ended_at": self.dense + 4 * HOUR})
        for started in (0, 4_102_444_800 * SECOND):
            gaps.append({**last, "id": identity("gap", started), "source": "nobody", "symbols": ["XMR-USD"],
                         "started_at": started, "detail": "impossible"})
        return gaps

    def weights(self):
        rows = []
        for day in (0, 1):
            # Fetched the evening after, late in São Paulo, which is the next day in UTC.
            received = midnight(self.now) - (2 - day) * DAY + 26 * HOUR
            trading_day = datetime.datetime.fromtimestamp((received - 50 * HOUR) / SECOND, datetime.UTC).date()
            for number in range(12):
                row = {
                    "event_id": identity("weight", day, number), "revision": 0, "source": "b3", "index_name": "IBOV",
                    "code": f"PAPR{number // 2}", "asset": f"PAPER {number // 2}", "type": "ON      NM" if number % 2 else "PN",
                    "segment": None, "part": Decimal(self.chance.randint(1, 10**6)).scaleb(-5),
                    "theoretical_quantity": Decimal(self.chance.randint(1, 10**12)), "pregao_date": trading_day,
                    "received_at": received + number, "payload_id": identity("portfolio", day), "retracted": False,
                }
                rows.append(row)
                if number == 3:
                    rows.append({**row, "revision": 1, "part": row["part"] + 1})
                if number == 4:
                    rows.append({**row, "revision": 1, "retracted": True})
                if number == 5:
                    rows.append({**row, "event_id": identity("more of it", day), "theoretical_quantity": Decimal(7)})
        return rows

    def health(self):
        return [{"source": "coinbase", "at": self.now, "last_answer_at": None, "state": "OK", "budget_left": None,
                 "used_today": None, "used_this_month": None, "producer": "one"}]

    def payloads(self):
        return [{"payload_id": identity("payload", 1), "source": "coinbase", "request": "GET /ticker", "status": 200,
                 "received_at": self.now, "content_encoding": "identity", "part": 0, "parts": 1, "content": b"{}"}]

    def alerts(self):
        rest = {"rule": "any", "rule_hash": "00112233445566ff", "state": "FIRING", "severity": "WARNING", "source": "coinbase",
                "event_time": self.now, "fired_at": self.now, "trigger_partition": 0, "trigger_offset": 0, "message": "so it is"}
        of_price = {**rest, "alert_id": identity("alert", 1), "kind": "THRESHOLD", "symbol": "BTC-USD",
                    "price": Decimal("70000.01"), "reference": Decimal(70000), "change_pct": Decimal("0.000014285714285714"),
                    "event_id": identity("coinbase", 1), "trigger_topic": "market.ticks.v1"}
        of_source = {**rest, "alert_id": identity("alert", 2), "kind": "STALE_FEED", "symbol": None, "price": None,
                     "reference": None, "change_pct": None, "event_id": None, "trigger_topic": "market.health.v1"}
        return [of_price, of_source]

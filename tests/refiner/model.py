"""What silver and gold must be, said again in plain Python from bronze rows: loops over rows and exact decimals, no SQL."""

import datetime
import math
from collections import defaultdict
from decimal import Decimal, localcontext
from statistics import median

from records import DAY, HOUR, MINUTE, QUARANTINE_FROM, SECOND

WIDTHS = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": HOUR, "1d": DAY}
# Beyond this a sum does not fit into DECIMAL(38,18).
LIMIT = 10**20


def text_date(us):
    return str((datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=us)).date())


def sound(tick):
    return QUARANTINE_FROM <= tick["event_time"] <= tick["broker_time"] + DAY


def in_log(row):
    return row["broker_time"], row["kafka_partition"], row["kafka_offset"]


def exact_sum(values):
    with localcontext(prec=60):
        return sum(values, Decimal(0))


def silver_ticks(bronze):
    """By event id; every event of the tests is announced where it moves, so one place is left."""
    events = defaultdict(list)
    for tick in filter(sound, bronze):
        events[tick["event_id"]].append(tick)
    standing = {}
    for event_id, told in events.items():
        highest = max(tick["revision"] for tick in told)
        winner = min((tick for tick in told if tick["revision"] == highest), key=in_log)
        if winner["retracted"]:
            continue
        here = [tick for tick in told if tick["event_time"] == winner["event_time"]]
        standing[event_id] = {**winner, "copies": len(here), "revisions": len({tick["revision"] for tick in here})}
    return standing


def silver_gaps(bronze):
    told = defaultdict(list)
    for gap in bronze:
        if QUARANTINE_FROM <= gap["started_at"] <= gap["broker_time"] + DAY:
            told[gap["id"]].append(gap)
    return {
        gap_id: max(rows, key=lambda row: (row["ended_at"] is not None, in_log(row))) for gap_id, rows in told.items()
    }


def touches(gap, source, symbol, start, end, kind=None):
    symbols = {symbol}
    if kind == "FX_IMPLIED":
        base, quote = symbol.split("-")
        symbols |= {f"{base}-USD", f"USD-{quote}"}
    return (
        (gap["source"] in (source, "*") or kind == "FX_IMPLIED")
        and (not gap["symbols"] or bool(symbols.intersection(gap["symbols"])))
        and gap["started_at"] < end
        and (gap["ended_at"] is None or gap["ended_at"] > start)
    )


def candles(ticks, gaps):
    """By (timeframe, source, symbol, price basis, bucket)."""
    buckets = defaultdict(list)
    for tick in ticks:
        for timeframe, width in WIDTHS.items():
            start = tick["event_time"] - tick["event_time"] % width
            buckets[timeframe, tick["source"], tick["symbol"], tick["kind"], start].append(tick)
    made = {}
    for key, inside in buckets.items():
        timeframe, source, symbol, kind, start = key
        end = start + WIDTHS[timeframe]
        inside.sort(key=lambda tick: (tick["event_time"], tick["event_id"]))
        prices = [tick["price"] for tick in inside]
        quantities = [tick["quantity"] for tick in inside if tick["quantity"] is not None]
        volume = exact_sum(quantities) if quantities else None
        quote_volume = math.fsum(
            float(tick["price"]) * float(tick["quantity"]) for tick in inside if tick["quantity"] is not None
        ) if quantities else None
        made[key] = {
            "open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1],
            "volume": volume if volume is None or volume < LIMIT else None,
            "quote_volume": quote_volume,
            "vwap": quote_volume / float(volume) if volume and volume < LIMIT else None,
            "average": math.fsum(map(float, prices)) / len(prices), "ticks": len(prices),
            "first_event_time": inside[0]["event_time"], "last_event_time": inside[-1]["event_time"],
            "complete": not any(touches(gap, source, symbol, start, end, kind) for gap in gaps),
        }
    return made


def quality(ticks, gaps, candles_made):
    """By (source, day)."""
    days = defaultdict(list)
    for tick in ticks:
        days[tick["source"], text_date(tick["event_time"])].append(tick)
    heard = {day: tick["event_time"] - tick["event_time"] % DAY for (_, day), inside in days.items() for tick in inside}
    made = {}
    newest = defaultdict(int)
    for tick in ticks:
        day = text_date(tick["event_time"])
        newest[day] = max(newest[day], tick["event_time"])
    for source in {tick["source"] for tick in ticks} | {gap["source"] for gap in gaps} - {"*"}:
        for day, start in heard.items():
            inside = sorted(days.get((source, day), []), key=lambda tick: tick["event_time"])
            held = [gap for gap in gaps if touches({**gap, "symbols": []}, source, "", start, start + DAY)]
            if not inside and all(gap["source"] == "*" for gap in held):
                continue
            times = [tick["event_time"] for tick in inside]
            fresh = [tick["received_at"] - tick["event_time"] for tick in inside if tick["event_time_origin"] == "SOURCE"]
            delay = [tick["broker_time"] - tick["received_at"] for tick in inside]
            silences = [after - before for before, after in zip(times, times[1:], strict=False)]
            made[source, day] = {
                "ticks": len(inside), "symbols": len({tick["symbol"] for tick in inside}),
                "longest_silence_s": max(silences, default=0) // SECOND if inside else None,
                "freshness_p50_ms": rank(fresh, 50), "freshness_p95_ms": rank(fresh, 95), "freshness_max_ms": rank(fresh, 100),
                "broker_delay_p50_ms": rank(delay, 50), "broker_delay_p95_ms": rank(delay, 95),
                "broker_delay_max_ms": rank(delay, 100),
                "gaps": len(held), "open_gaps": sum(gap["ended_at"] is None for gap in held),
                "gap_seconds": covered(held, start, start + DAY, newest[day]) / SECOND,
                "duplicates": sum(tick["copies"] - tick["revisions"] for tick in inside),
                "corrections": sum(tick["revision"] > 0 for tick in inside),
                "late_ticks": sum(tick["broker_time"] - tick["event_time"] > HOUR for tick in inside),
                **off_median(candles_made, source, start),
            }
    return made


def rank(delays, percent):
    """Nearest rank, in whole milliseconds towards zero."""
    if not delays:
        return None
    milliseconds = sorted(int(delay / 1000) for delay in delays)
    return milliseconds[max(math.ceil(len(milliseconds) * percent / 100), 1) - 1]


def covered(gaps, start, end, newest):
    total, reached = 0, start
    for gap in sorted(gaps, key=lambda gap: gap["started_at"]):
        until = newest if gap["ended_at"] is None else min(gap["ended_at"], end)
        total += max(0, until - max(gap["started_at"], reached))
        reached = max(reached, until)
    return total


ORDER = ["TRADE", "FX", "QUOTE", "TICKER", "REFERENCE"]


def closes(candles_made, timeframe):
    """{(symbol, bucket): {source: (close, complete)}}: a source by its best price basis."""
    best = {}
    for (frame, source, symbol, basis, bucket), candle in candles_made.items():
        # A close that is not positive is no price; it is off the median of a minute all the same.
        if frame != timeframe or basis == "FX_IMPLIED" or frame == "1h" and candle["close"] <= 0:
            continue
        key, place = (symbol, bucket, source), ORDER.index(basis)
        if key not in best or place < best[key][0]:
            best[key] = place, float(candle["close"]), candle["complete"]
    by_bucket = defaultdict(dict)
    for (symbol, bucket, source), (_, close, complete) in best.items():
        by_bucket[symbol, bucket][source] = close, complete
    return by_bucket


def off_median(candles_made, source, start):
    compared = off = 0
    for (_, bucket), by_source in closes(candles_made, "1m").items():
        prices = [close for close, _ in by_source.values() if close > 0]
        if source not in by_source or len(prices) < 3 or not start <= bucket < start + DAY:
            continue
        middle = median(prices)
        compared += 1
        off += abs(by_source[source][0] - middle) > 0.01 * middle
    return {"compared_minutes": compared, "off_median_share": off / compared if compared else None}


def hourly(candles_made):
    return {
        key: (median(close for close, _ in by_source.values()), len(by_source), all(ok for _, ok in by_source.values()))
        for key, by_source in closes(candles_made, "1h").items()
    }


def cross_rates(candles_made, gaps):
    """By (base, quote_a, quote_b, bucket)."""
    prices, sources = {}, closes(candles_made, "1h")
    for (symbol, bucket), (price, _, complete) in hourly(candles_made).items():
        prices[(*symbol.split("-"), bucket)] = price, complete
    made = {}
    for (base, quote_a, bucket), (price_a, complete_a) in prices.items():
        for (other, quote_b, other_bucket), (price_b, complete_b) in prices.items():
            if (other, other_bucket) != (base, bucket) or quote_b <= quote_a:
                continue
            observed, age, complete = None, None, complete_a and complete_b
            for back in range(25):
                at = bucket - back * HOUR
                told = next((pair for pair in ((quote_b, quote_a), (quote_a, quote_b)) if (*pair, at) in prices), None)
                if told is None:
                    continue
                symbol = "-".join(told)
                since = [at + HOUR, bucket + HOUR]
                if back and any(touches(gap, source, symbol, *since) for gap in gaps for source in sources[symbol, at]):
                    break
                rate, ok = prices[(*told, at)]
                observed, age = (rate if told == (quote_b, quote_a) else 1 / rate), back
                complete = complete and ok
                break
            implied = price_a / price_b
            made[base, quote_a, quote_b, bucket] = {
                "price_a": price_a, "price_b": price_b, "implied_rate": implied, "observed_rate": observed,
                "observed_age_h": age, "premium": implied / observed - 1 if observed else None, "complete": complete,
            }
    return made


def daily_stats(candles_made):
    """By (source, symbol, price basis, bucket)."""
    minutes = defaultdict(list)
    for (frame, source, symbol, basis, bucket), candle in sorted(candles_made.items()):
        if frame == "1m":
            minutes[source, symbol, basis, bucket - bucket % DAY].append(float(candle["close"]))
    made = {}
    for key, series in minutes.items():
        day = candles_made[("1d", *key)]
        pairs = zip(series, series[1:], strict=False)
        moves = [math.log(after / before) for before, after in pairs if before > 0 and after > 0]
        opened, closed = float(day["open"]), float(day["close"])
        made[key] = {
            "open": day["open"], "close": day["close"], "min": day["low"], "max": day["high"],
            "range": day["high"] - day["low"], "average": day["average"], "ticks": day["ticks"], "minutes": len(series),
            "volume": day["volume"], "simple_return": closed / opened - 1 if opened else None,
            "log_return": math.log(closed / opened) if opened > 0 and closed > 0 else None,
            "realised_volatility": math.sqrt(math.fsum(move * move for move in moves)) if moves else None,
            "complete": day["complete"],
        }
    return made


def index_weights(bronze):
    """By (index, trading day, code, type)."""
    events = defaultdict(list)
    for row in bronze:
        events[row["event_id"]].append(row)
    standing = []
    for told in events.values():
        highest = max(row["revision"] for row in told)
        winner = min((row for row in told if row["revision"] == highest), key=in_log)
        if not winner["retracted"]:
            standing.append(winner)
    fetched = defaultdict(int)
    groups = defaultdict(list)
    for row in standing:
        day = row["index_name"], row["pregao_date"]
        fetched[day] = max(fetched[day], row["received_at"])
        groups[(*day, row["code"], row["type"])].append(row)
    made = {}
    for key, rows in groups.items():
        run_date = datetime.date.fromisoformat(text_date(fetched[key[:2]] - 3 * HOUR))
        made[key] = {
            "theoretical_quantity": exact_sum(row["theoretical_quantity"] for row in rows),
            "part": exact_sum(row["part"] for row in rows), "papers": len(rows), "run_date": run_date,
            "days_since_pregao": (run_date - key[1]).days,
        }
    return made

"""The metrics that the code has: name, kind and labels, as the macros say them."""

import pathlib
import re
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROOMS = ["pipeline", "producer", "lake", "consumer-lake", "refiner", "consumer-db", "consumer-alerts", "dashboard"]
# Functions that make a metric of the name that they are given: its kind, and the labels that they add.
MAKERS = {"PerTopic::new": ("counter", ["topic"]), "Limits::new": ("gauge", [])}

MACRO = re.compile(r'\b(counter|gauge|histogram)!\(\s*"(tickstream_\w+)"')
NAMED = re.compile(r'"(tickstream_\w+)"')
LABEL = re.compile(r'"(\w+)"\s*=>')
PAIR = re.compile(r'\("(\w+)",')


class Metric(NamedTuple):
    room: str
    kind: str
    labels: tuple


def without_tests(text):
    return text.split("#[cfg(test)]\nmod tests {")[0]


def arguments_from(text, start):
    """What stands from here to the parenthesis that closes the macro."""
    depth = 1
    for end in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end]
    raise AssertionError(text[start:])


def labels_of(text, start, arguments):
    if "&labels" not in arguments:
        return LABEL.findall(arguments)
    # Gathered just before.
    return PAIR.findall("\n".join(text[:start].splitlines()[-5:]))


def metrics():
    """Every metric by its name."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room / "src").rglob("*.rs")):
            text = without_tests(path.read_text())
            named = {}
            for match in MACRO.finditer(text):
                labels = labels_of(text, match.start(), arguments_from(text, match.end()))
                named[match.start(2)] = (match[2], match[1], labels)
            for maker, (kind, labels) in MAKERS.items():
                for match in re.finditer(re.escape(maker) + r'\([^;]*?"(tickstream_\w+)"\)', text):
                    named[match.start(1)] = (match[1], kind, labels)
            for name, kind, labels in named.values():
                metric = Metric(room, kind, tuple(sorted(labels)))
                before = found.setdefault(name, metric)
                assert before[1:] == metric[1:], f"{name} is {before} and, in {path}, {metric}"
    return found


def audit_series():
    """What an audit writes into a file, and the labels of each."""
    text = without_tests((ROOT / "cli/src/audit/metrics.rs").read_text())
    labels = {"differences": ("kind",), "records": ("in",)}
    return {f"tickstream_audit_{name}": labels.get(name, ()) for name in re.findall(r'metric\("(\w+)"', text)}


def names_in_code():
    """Every literal that looks like a metric's name."""
    return {
        name
        for room in ROOMS
        for path in (ROOT / room / "src").rglob("*.rs")
        for name in NAMED.findall(without_tests(path.read_text()))
    }


def series(found):
    """What Prometheus has of them: a histogram is three."""
    names = {}
    for name, metric in found.items():
        if metric.kind == "histogram":
            names |= {f"{name}_sum": metric.labels, f"{name}_count": metric.labels, f"{name}_bucket": (*metric.labels, "le")}
        else:
            names[name] = metric.labels
    return names

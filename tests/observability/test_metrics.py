"""docs/metrics.md is what the code has."""

import re

import in_code
from in_code import ROOT

ROW = re.compile(r"^\| `(tickstream_\w+)` \| (\w+) \|([\w, ]*)\|", re.MULTILINE)
# No metrics, though they look like it.
OTHERS = {"tickstream_session"}


def test_every_name_in_the_code_is_understood():
    found = in_code.metrics()
    assert in_code.names_in_code() - set(found) == OTHERS
    assert len(found) > 70


def test_the_page_has_each_metric_with_its_kind_and_labels():
    found = {name: (metric.kind, metric.labels) for name, metric in in_code.metrics().items()}
    rows = ROW.findall((ROOT / "docs/metrics.md").read_text())
    assert len(rows) == len(set(name for name, *_ in rows)), "a metric stands there twice"
    page = {name: (kind, tuple(sorted(label.strip() for label in labels.split(",") if label.strip()))) for name, kind, labels in rows}
    assert page == found


def test_names_say_what_they_are():
    for name, metric in in_code.metrics().items():
        assert name.endswith("_total") == (metric.kind == "counter"), name
        if metric.kind == "histogram":
            assert name.endswith("_seconds"), name
        assert len(metric.labels) <= 3, name


def test_other_pages_name_metrics_that_there_are():
    known = set(in_code.metrics()) | OTHERS
    # Roles of Postgres, a name in Kubernetes, and what an audit writes into a file (docs/cli.md).
    others = re.compile(r"tickstream_(reader|writer|migrator|local\w*|audit_\w+)$")
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        named = set(re.findall(r"\b(tickstream_[a-z]\w*[a-z])\b", page.read_text()))
        unknown = {name for name in named - known if not others.match(name)}
        assert not unknown, f"{page}: {unknown}"

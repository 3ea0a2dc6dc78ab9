"""The alert rules: expressions that parse, over metrics and labels that there are; severity, summary, runbook and a unit test each."""

import re
import subprocess
import sys

import promql_parser as promql
import pytest
import yaml

import in_code
from in_code import ROOT

sys.path.insert(0, str(ROOT / "tests/observability/trial"))

from shorten import shortened  # noqa: E402

FOLDER = ROOT / "k8s/components/monitoring"
# What Prometheus adds to every series.
SCRAPED = {"job", "instance"}
GROUPS = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]


def known_series():
    known = {name: set(labels) | SCRAPED for name, labels in in_code.series(in_code.metrics()).items()}
    known |= {name: set(labels) | SCRAPED for name, labels in in_code.audit_series().items()}
    known["up"] = SCRAPED
    known["tickstream:consumer_lag:seconds"] = {"topic", "partition"} | SCRAPED
    return known


KNOWN = known_series()


def selectors(expression):
    """Every series that an expression selects, with the labels that it names there."""
    found = []

    def walk(node):
        if isinstance(node, promql.VectorSelector):
            found.append((node.name, {matcher.name for matcher in node.matchers.matchers}))
        for below in ("expr", "lhs", "rhs", "vector_selector", "vs", "param"):
            child = getattr(node, below, None)
            if child is not None and isinstance(child, promql.Expr):
                walk(child)
        for child in getattr(node, "args", None) or []:
            walk(child)

    walk(promql.parse(expression))
    return found


def check_expression(expression, what):
    found = selectors(expression)
    assert found, f"{what}: nothing is selected"
    available = set()
    for name, matched in found:
        assert name in KNOWN, f"{what}: there is no {name}"
        assert matched <= KNOWN[name], f"{what}: {name} has no label {matched - KNOWN[name]}"
        available |= KNOWN[name]
    for labels in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expression):
        named = {label.strip() for label in labels.split(",") if label.strip()}
        assert named <= available, f"{what}: no series has {named - available}"


def test_the_check_itself_refuses_what_is_not_there():
    for wrong in ["rate(tickstream_no_such_total[5m])", 'tickstream_consumer_lag{colour="red"}', "sum by (colour) (up)"]:
        with pytest.raises(AssertionError):
            check_expression(wrong, "wrong")
    nested = "histogram_quantile(0.9, sum by (le) (rate(tickstream_no_such_bucket[5m]))) > 1 unless on (job) up == 0"
    assert {name for name, _ in selectors(nested)} == {"tickstream_no_such_bucket", "up"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_its_expression_uses_what_there_is(rule):
    check_expression(rule["expr"], rule.get("alert") or rule["record"])


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule):
    name = rule["alert"]
    assert rule["labels"] in ({"severity": "warning"}, {"severity": "critical"})
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"] == f"docs/runbooks/{name}.md"
    page = (ROOT / rule["annotations"]["runbook"]).read_text()
    assert page.startswith(f"# {name}\n")
    for heading in ["## What it means", "## What to look at", "## What to do", "## Tried"]:
        assert heading in page, f"{name}: {heading}"
    # The labels that the text names are left by the expression.
    aggregated = re.match(r"\(?\s*(?:max|min|sum|histogram_quantile)", rule["expr"])
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert not aggregated or re.search(rf"\bby\s*\([^)]*\b{label}\b", rule["expr"]), f"{name}: {label}"


def test_every_alert_has_a_unit_test_and_every_runbook_an_alert():
    names = {rule["alert"] for rule in ALERTS}
    assert len(names) == len(ALERTS)
    fires, silent = set(), set()
    for test in yaml.safe_load((ROOT / "tests/observability/rules_test.yaml").read_text())["tests"]:
        for case in test["promql_expr_test"]:
            assert case["expr"] == f'ALERTS{{alertname="{test["name"]}", alertstate="firing"}}'
            (fires if case["exp_samples"] else silent).add(test["name"])
    assert fires == names, f"without a test that fires: {names - fires}"
    assert silent == names, f"without a test that stays silent: {names - silent}"
    pages = {page.stem for page in (ROOT / "docs/runbooks").glob("Tickstream*.md")}
    assert pages == names


def test_every_alert_has_a_fault_that_is_made():
    faults = (ROOT / "tests/observability/trial/faults.py").read_text()
    assert set(re.findall(r"\bTickstream\w+", faults)) == {rule["alert"] for rule in ALERTS}


def test_the_trial_shortens_times_and_nothing_else():
    rule = "expr: increase(x[10m]) > 50 or max(y_seconds) > 300 or z_bucket[1h] > 2.5 offset 15m\nfor: 2m\n"
    assert shortened(rule, 20) == (
        "expr: increase(x[30000ms]) > 50 or max(y_seconds) > 15 or z_bucket[180000ms] > 2.5 offset 45000ms\nfor: 6000ms\n"
    )


def test_the_operators_resource_is_made_of_the_rules():
    made = subprocess.run([ROOT / "scripts/prometheus_rule.sh"], capture_output=True, text=True, check=True).stdout
    assert (FOLDER / "prometheus-rule.yaml").read_text() == made
    assert yaml.safe_load(made)["spec"]["groups"] == GROUPS

"""Grafana's dashboards: as the script makes them, over metrics and labels that there are, and none of the metrics left out."""

import json
import re
import subprocess
import sys

import in_code
from in_code import ROOT
from test_rules import check_expression, selectors

FILES = sorted((ROOT / "k8s/components/monitoring/dashboards").glob("*.json"))
# Of no use in a picture.
NOT_SHOWN = {
    "tickstream_build_info", "tickstream_alert_rules", "tickstream_alert_rules_refused_total", "tickstream_alerts_judge_seconds",
    "tickstream_consumer_durable_timestamp_seconds", "tickstream_consumer_pauses_total", "tickstream_notify_held",
    "tickstream_notify_fired_to_delivered_seconds", "tickstream_notify_oldest_waiting_seconds", "tickstream_producer_published_total",
    "tickstream_producer_failed_total", "tickstream_producer_spilled_total", "tickstream_producer_health_skipped_total",
    "tickstream_producer_client_renewals_total", "tickstream_producer_sharing_mismatch",
    "tickstream_trace_spans_dropped_total", "tickstream_trace_spans_sent_total",
}


def targets():
    for path in FILES:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"].replace("$__rate_interval", "1m"), target["legendFormat"]


def test_they_are_as_the_script_makes_them():
    subprocess.run([sys.executable, ROOT / "scripts/dashboards.py", "--check"], check=True)
    assert [path.stem for path in FILES] == ["dashboard", "database", "lake", "pipeline", "sources"]


def test_each_panel_asks_for_what_there_is():
    asked = set()
    for what, expression, legend in targets():
        check_expression(expression, what)
        for label in re.findall(r"{{(\w+)}}", legend):
            assert re.search(rf"\bby \([^)]*\b{label}\b", expression), f"{what}: {label}"
        asked |= {re.sub(r"_(sum|count|bucket)$", "", name) for name, _ in selectors(expression)}
    assert set(in_code.metrics()) - asked == NOT_SHOWN


def test_ids_are_one_of_a_kind():
    uids = [json.loads(path.read_text())["uid"] for path in FILES]
    assert len(uids) == len(set(uids))

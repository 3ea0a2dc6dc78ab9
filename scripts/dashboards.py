#!/usr/bin/env python3
"""Writes Grafana's dashboards, k8s/components/monitoring/dashboards/*.json, of the panels below; --check only compares."""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "k8s/components/monitoring/dashboards"
STATES = {"0": ("connecting", "yellow"), "1": ("ok", "green"), "2": ("failing", "orange"), "3": ("stopped", "red"), "4": ("standby", "blue")}


def rate(metric, by, window="$__rate_interval"):
    return f"sum by ({by}) (rate({metric}[{window}]))"


def quantile(q, metric, by=""):
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"


def quantiles(metric):
    return [(quantile(q, metric), name) for q, name in [(0.5, "half"), (0.95, "95 %"), (0.99, "99 %")]]


# Title, unit, [(expression, legend)], and what else a panel has.
PIPELINE = [
    ("Prices acknowledged a second", "short", [(rate("tickstream_producer_acknowledged_total", "topic"), "{{topic}}")]),
    ("Services that answer", "stat", [("sum by (job) (up)", "{{job}}")]),
    ("Parts that cannot work", "short", [("1 - min by (job, part) (tickstream_ready)", "{{job}} {{part}}")]),
    ("Receipt to acknowledgement", "s", quantiles("tickstream_producer_receive_to_ack_seconds")),
    ("Broker to durable, 99 %", "s", [(quantile(0.99, "tickstream_consumer_delay_seconds", "job"), "{{job}}")]),
    ("Broker to page", "s", quantiles("tickstream_dashboard_broker_lag_seconds")),
    ("Lag in seconds", "s", [("max by (job, topic) (tickstream:consumer_lag:seconds)", "{{job}} {{topic}}")]),
    ("Lag in records", "short", [("sum by (group, topic) (tickstream_consumer_lag)", "{{group}} {{topic}}")]),
    ("Records written a second", "short", [(rate("tickstream_consumer_records_total", "job"), "{{job}}")]),
    ("One call of the sink, 99 %", "s", [(quantile(0.99, "tickstream_consumer_write_seconds", "job"), "{{job}}")]),
    ("Dead letters", "short", [("sum by (job) (increase(tickstream_consumer_dead_letters_total[5m]))", "{{job}}")]),
    ("Failed tries of a sink", "short", [("sum by (job) (increase(tickstream_consumer_outages_total[5m]))", "{{job}}")]),
    ("Held in memory", "bytes", [("sum by (job) (tickstream_consumer_held_bytes)", "{{job}}")]),
    ("Waits for the broker", "short", [("sum by (instance) (tickstream_producer_waiting_records)", "records of {{instance}}")]),
    ("Waits on disk", "bytes", [("sum by (instance) (tickstream_producer_spill_bytes)", "{{instance}}")]),
    ("Lost and refused", "short", [
        ("sum by (topic) (increase(tickstream_producer_dropped_total[5m]))", "dropped {{topic}}"),
        ("sum by (code) (increase(tickstream_producer_refused_total[5m]))", "refused {{code}}"),
    ]),
    ("Alerts by kind", "short", [("sum by (kind, state) (increase(tickstream_alerts_total[5m]))", "{{kind}} {{state}}")]),
    ("Deliveries", "short", [("sum by (channel, result) (increase(tickstream_notify_deliveries_total[5m]))", "{{channel}} {{result}}")]),
    ("Secrets that cannot be read", "short", [("max by (job, instance) (tickstream_secrets_unusable)", "{{job}} {{instance}}")]),
]
LAKE = [
    ("Records a second into the chain", "short", [("sum by (topic) (deriv(tickstream_lake_tail[5m]))", "{{topic}}")]),
    ("Ends of the chains", "short", [("max by (topic, partition) (tickstream_lake_tail)", "{{topic}} {{partition}}")]),
    ("Lag in seconds", "s", [('max by (topic) (tickstream:consumer_lag:seconds{job="consumer-lake"})', "{{topic}}")]),
    ("Broker to durable", "s", [
        (f'histogram_quantile({q}, sum by (le) (rate(tickstream_consumer_delay_seconds_bucket{{job="consumer-lake"}}[$__rate_interval])))', name)
        for q, name in [(0.5, "half"), (0.99, "99 %")]
    ]),
    ("Objects a minute", "short", [("60 * " + rate("tickstream_lake_objects_total", "layer"), "{{layer}}")]),
    ("Bytes a second", "Bps", [(rate("tickstream_lake_object_bytes_total", "layer"), "{{layer}}")]),
    ("Bytes an object", "bytes", [
        (rate("tickstream_lake_object_bytes_total", "layer", "5m") + " / " + rate("tickstream_lake_objects_total", "layer", "5m"), "{{layer}}"),
    ]),
    ("Conflicts and lost answers", "short", [
        ("sum by (layer) (increase(tickstream_lake_conflicts_total[5m]))", "conflicts {{layer}}"),
        ("sum by (layer) (increase(tickstream_lake_unanswered_puts_total[5m]))", "unanswered {{layer}}"),
    ]),
    ("A look of the refiner", "s", quantiles("tickstream_refiner_run_seconds")),
    ("Hours and days made", "short", [("sum by (table) (increase(tickstream_refiner_groups_total[5m]))", "{{table}}")]),
    ("Objects of silver and gold that changed", "short", [("sum by (table) (increase(tickstream_refiner_objects_total[5m]))", "{{table}}")]),
    ("Waiting, failed, unreadable", "short", [
        ("max(tickstream_refiner_waiting)", "waiting"), ("max(tickstream_refiner_failed)", "failed"), ("max(tickstream_refiner_held)", "unreadable"),
    ]),
    ("Bronze taken up", "short", [("sum(increase(tickstream_refiner_bronze_total[5m]))", "objects")]),
    ("Swaps that another refiner won", "short", [("sum by (table) (increase(tickstream_refiner_conflicts_total[5m]))", "{{table}}")]),
]
DATABASE = [
    ("Connected", "stat", [("min by (instance) (tickstream_db_connected)", "{{instance}}")]),
    ("Ticks a second by result", "short", [(rate("tickstream_db_rows_total", "result"), "{{result}}")]),
    ("One transaction", "s", quantiles("tickstream_db_batch_seconds")),
    ("Share of it that candles take", "percentunit", [
        ("sum(rate(tickstream_db_candles_seconds_sum[5m])) / sum(rate(tickstream_db_batch_seconds_sum[5m]))", "candles"),
    ]),
    ("Lag in seconds", "s", [('max by (topic) (tickstream:consumer_lag:seconds{job="consumer-db"})', "{{topic}}")]),
    ("Lag in records", "short", [('sum by (topic) (tickstream_consumer_lag{job="consumer-db"})', "{{topic}}")]),
    ("Connections tried", "short", [("sum by (instance) (increase(tickstream_db_connects_total[5m]))", "{{instance}}")]),
    ("Failed tries", "short", [('sum by (instance) (increase(tickstream_consumer_outages_total{job="consumer-db"}[5m]))', "{{instance}}")]),
    ("Dead letters", "short", [('sum by (instance) (increase(tickstream_consumer_dead_letters_total{job="consumer-db"}[5m]))', "{{instance}}")]),
    ("Days dropped by retention", "short", [("sum(increase(tickstream_db_days_dropped_total[1h]))", "days")]),
]
DASHBOARD = [
    ("WebSockets and streams", "short", [("sum by (instance) (tickstream_dashboard_connections)", "{{instance}}")]),
    ("TCP connections", "short", [("sum by (instance) (tickstream_dashboard_accepted_connections)", "{{instance}}")]),
    ("Broker to page", "s", quantiles("tickstream_dashboard_broker_lag_seconds")),
    ("Records a second", "short", [(rate("tickstream_dashboard_records_total", "topic"), "{{topic}}")]),
    ("Messages a second", "short", [(rate("tickstream_dashboard_sent_total", "type"), "{{type}}")]),
    ("Slow clients", "short", [
        ("sum(increase(tickstream_dashboard_conflated_total[5m]))", "rows replaced before they were sent"),
        ("sum(increase(tickstream_dashboard_lagged_total[5m]))", "sessions with a new snapshot"),
    ]),
    ("Pace for slow clients", "s", [("max by (instance) (tickstream_dashboard_pace_seconds)", "{{instance}}")]),
    ("Answers from the cache", "percentunit", [
        (
            rate("tickstream_dashboard_cache_hits_total", "kind", "5m")
            + " / (" + rate("tickstream_dashboard_cache_hits_total", "kind", "5m")
            + " + " + rate("tickstream_dashboard_cache_misses_total", "kind", "5m") + ")",
            "{{kind}}",
        ),
    ]),
    ("Series in memory", "short", [("max by (instance) (tickstream_dashboard_series)", "{{instance}}")]),
    ("Beyond the limits", "short", [("sum by (instance) (increase(tickstream_dashboard_refused_total[1h]))", "{{instance}}")]),
    ("Without a right", "short", [("sum by (instance) (increase(tickstream_dashboard_unauthorized_total[5m]))", "{{instance}}")]),
    ("Records that do not decode", "short", [("sum by (topic) (increase(tickstream_dashboard_bad_records_total[5m]))", "{{topic}}")]),
    ("Candles mended", "short", [("sum(increase(tickstream_dashboard_candles_mended_total[5m]))", "candles")]),
    ("Connections to Postgres", "short", [("sum by (state) (tickstream_dashboard_database_connections)", "{{state}}")]),
]
SOURCES = [
    ("State", "state", [("min by (source) (tickstream_producer_source_state)", "{{source}}")]),
    ("Open gaps", "short", [("max by (source) (tickstream_producer_open_gaps)", "{{source}}")]),
    ("Gaps that ended", "short", [("sum by (source, reason) (increase(tickstream_producer_gaps_total[5m]))", "{{source}} {{reason}}")]),
    ("Polls by outcome", "short", [("sum by (source, outcome) (increase(tickstream_producer_polls_total[5m]))", "{{source}} {{outcome}}")]),
    ("Frames a second", "short", [(rate("tickstream_producer_frames_total", "source"), "{{source}}")]),
    ("Connections tried", "short", [("sum by (source) (increase(tickstream_producer_connects_total[5m]))", "{{source}}")]),
    ("What parsers did not take", "short", [("sum by (source, code) (increase(tickstream_producer_problems_total[5m]))", "{{source}} {{code}}")]),
    ("Budget left", "short", [("min by (source, period) (tickstream_producer_budget_left)", "{{source}} a {{period}}")]),
    ("Circuit (2 is open)", "short", [("max by (source) (tickstream_producer_circuit)", "{{source}}")]),
    ("Off the median", "short", [("sum by (source, symbol) (increase(tickstream_producer_off_median_total[5m]))", "{{source}} {{symbol}}")]),
    ("Known already", "short", [("sum by (source) (increase(tickstream_producer_unchanged_total[5m]))", "{{source}}")]),
    ("Dated ahead", "short", [("sum by (source) (increase(tickstream_producer_ticks_ahead_total[5m]))", "{{source}}")]),
    ("Filled from history", "short", [("sum by (source) (increase(tickstream_producer_backfilled_total[5m]))", "{{source}}")]),
    ("Not implied", "short", [("sum by (reason) (increase(tickstream_producer_implied_refused_total[5m]))", "{{reason}}")]),
]
DASHBOARDS = {
    "pipeline": ("tickstream: pipeline", PIPELINE),
    "lake": ("tickstream: lake", LAKE),
    "database": ("tickstream: database", DATABASE),
    "dashboard": ("tickstream: dashboard", DASHBOARD),
    "sources": ("tickstream: sources", SOURCES),
}


def panel(number, title, unit, targets):
    kind = {"stat": "stat", "state": "state-timeline"}.get(unit, "timeseries")
    defaults = {} if kind != "timeseries" else {"unit": unit, "min": 0, "custom": {"fillOpacity": 8, "showPoints": "never"}}
    if kind == "state-timeline":
        options = {value: {"text": text, "color": color, "index": int(value)} for value, (text, color) in STATES.items()}
        defaults = {"mappings": [{"type": "value", "options": options}], "custom": {"fillOpacity": 80}}
    return {
        "id": number + 1,
        "type": kind,
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": 8, "w": 8, "x": 8 * (number % 3), "y": 8 * (number // 3)},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {} if kind == "stat" else {"legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend, "datasource": {"type": "prometheus", "uid": "${datasource}"}}
            for place, (expression, legend) in enumerate(targets)
        ],
    }


def dashboard(name, title, panels):
    return {
        "uid": f"tickstream-{name}",
        "title": title,
        "tags": ["tickstream"],
        "schemaVersion": 41,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]},
        "links": [{"type": "dashboards", "title": "tickstream", "tags": ["tickstream"], "asDropdown": False, "keepTime": True}],
        "panels": [panel(number, *about) for number, about in enumerate(panels)],
    }


def main():
    wrong = []
    for name, (title, panels) in DASHBOARDS.items():
        path = FOLDER / f"{name}.json"
        text = json.dumps(dashboard(name, title, panels), indent=2) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            wrong.append(str(path))
    if wrong:
        sys.exit(f"not as scripts/dashboards.py makes them: {', '.join(wrong)}")


if __name__ == "__main__":
    main()

"""Writes the topics by hand: records as the producer and the alerts' engine would, made by other people's Avro and Kafka."""

import io
import json
import time
import uuid
from decimal import Decimal
from pathlib import Path

import fastavro
from confluent_kafka import Producer

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
# What the way from the exchange takes.
SENT_BEFORE_US = 20_000
NAMESPACE = uuid.UUID(int=7)
# What one source tells with every tick.
ALWAYS = {("BTC-USD", "coinbase"): {"volume_24h": "11873.123456789", "change_24h_pct": "1.254", "bid": "84000.06", "ask": "84000.08"}}


def now_us():
    return time.time_ns() // 1000


def identity(name):
    return uuid.uuid5(NAMESPACE, name).bytes


class Topics:
    def __init__(self, bootstrap):
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        self.written = 0

    def tick(self, symbol, source, price, at_us=None, kind="TRADE", origin="SOURCE", wait=True, **more):
        """One tick; prices are texts. Gives its event time."""
        self.written += 1
        at = at_us or now_us() - SENT_BEFORE_US
        base, _, quote = symbol.rpartition("-")
        record = {
            "event_id": identity(str(self.written)), "revision": 0, "source": source, "symbol": symbol, "base": base,
            "quote": quote, "kind": kind, "price": price, "quantity": "0.5", "event_time": at, "event_time_origin": origin,
            "received_at": at + SENT_BEFORE_US, "source_symbol": symbol, "payload_id": identity("payload"), "retracted": False, **ALWAYS.get((symbol, source), {}), **more,
        }
        self._write("market.ticks.v1", symbol, "price_tick-v2", record, wait)
        return at

    def gap(self, name, source, symbols, started_us, ended_us=None, reason="DISCONNECTED"):
        record = {"id": identity(name), "source": source, "symbols": symbols, "reason": reason,
                  "started_at": started_us, "ended_at": ended_us, "detail": "by hand"}
        self._write("market.gaps.v1", source, "gap-v1", record)

    def health(self, source, state="OK"):
        record = {"source": source, "at": now_us(), "last_answer_at": now_us(), "state": state, "budget_left": None}
        self._write("market.health.v1", source, "source_health-v2", record)

    def alert(self, name, symbol, source, message, severity="WARNING", at_us=None):
        at = at_us or now_us()
        record = {
            "alert_id": identity(name), "rule": name, "rule_hash": "0" * 16, "kind": "MOVING_AVERAGE", "state": "FIRING",
            "severity": severity, "symbol": symbol, "source": source, "price": "1", "reference": "1", "change_pct": "-3.1",
            "event_time": at, "fired_at": at, "event_id": None, "trigger_topic": "market.ticks.v1", "trigger_partition": 0,
            "trigger_offset": 0, "message": message,
        }
        self._write("market.alerts.v1", symbol or source, "alert-v1", record)

    def flush(self):
        assert self.producer.flush(30) == 0

    def _write(self, topic, key, schema, record, wait=True):
        self.producer.produce(topic, key=key.encode(), value=encode(schema, record))
        if wait:
            self.flush()


def encode(name, record):
    """Avro single-object encoding; decimals from texts, absent fields null."""
    parsed, fingerprint, fields = schema(name)
    values = {}
    for field, is_decimal in fields.items():
        value = record.get(field)
        values[field] = Decimal(value) if is_decimal and value is not None else value
    body = io.BytesIO()
    fastavro.schemaless_writer(body, parsed, values)
    return b"\xc3\x01" + fingerprint + body.getvalue()


def schema(name, known={}):
    if name not in known:
        text = json.loads((SCHEMAS / f"{name}.avsc").read_text())
        form = fastavro.schema.to_parsing_canonical_form(text)
        fingerprint = bytes.fromhex(fastavro.schema.fingerprint(form, "CRC-64-AVRO"))
        fields = {field["name"]: "decimal" in json.dumps(field["type"]) for field in text["fields"]}
        known[name] = (fastavro.parse_schema(text), fingerprint, fields)
    return known[name]

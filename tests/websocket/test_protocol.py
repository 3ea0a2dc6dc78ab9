"""The protocol as an outside client meets it."""

import asyncio
import json
import socket
import time

import pytest
import requests
import websockets
from websockets.asyncio.client import connect

PATIENCE = 30


async def until(client, wanted, site=None):
    """The first message that is wanted; its number must be the next one, each message as the schema has it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        message = json.loads(await asyncio.wait_for(client.recv(), PATIENCE))
        client.seq = getattr(client, "seq", 0) + 1
        assert message["seq"] == client.seq, message
        if site is not None:
            site.check(message)
        if wanted(message):
            return message
    raise AssertionError("it did not come")


def of(kind, channel=None):
    return lambda message: message["type"] == kind and channel in (None, message.get("channel"))


async def say(client, **message):
    await client.send(json.dumps(message))


def test_every_message_of_every_channel_is_as_the_schema_has_it(site):
    async def talk():
        async with connect(site.socket, max_size=None) as client:
            await say(client, type="subscribe", id=1, channel="ticks")
            for tf in ("1s", "1m", "5m", "1h", "1d"):
                await say(client, type="subscribe", channel="candles", tf=tf)
            for channel in ("gaps", "alerts", "health"):
                await say(client, type="subscribe", channel=channel)
            await say(client, type="ping", id=2, sent_us=5)
            await say(client, type="nonsense", id=3)
            await say(client, type="replay", action="pause")
            seen = set()

            def note(message):
                seen.add((message["type"], message.get("channel") or message.get("code"), message.get("tf")))
                expected = {
                    *((kind, "ticks", None) for kind in ("subscribed", "snapshot", "update")),
                    *((kind, "candles", tf) for kind in ("snapshot", "update") for tf in ("1s", "1m", "5m", "1h", "1d")),
                    ("snapshot", "gaps", None),
                    ("snapshot", "alerts", None),
                    ("snapshot", "health", None),
                    ("update", "health", None),
                    ("pong", None, None),
                    ("heartbeat", None, None),
                    ("error", "unknown_type", None),
                    ("error", "not_here", None),
                }
                return expected <= seen

            await until(client, note, site)
            await say(client, type="unsubscribe", id=4, channel="candles")
            await until(client, of("unsubscribed"), site)

    asyncio.run(talk())


def test_gaps_and_alerts_are_told_as_the_schema_has_them(site):
    async def talk():
        async with connect(site.socket, max_size=None) as client:
            await say(client, type="subscribe", channel="gaps")
            await say(client, type="subscribe", channel="alerts")
            opened = await until(client, lambda message: message["type"] == "gap" and message["gap"]["ended_at_us"] is None, site)
            gap = opened["gap"]
            assert (gap["source"], gap["reason"]) == ("simulated", "DISCONNECTED")
            closed = await until(client, lambda message: message["type"] == "gap" and message["gap"]["id"] == gap["id"], site)
            assert closed["gap"]["ended_at_us"] > gap["started_at_us"]
            alert = (await until(client, of("alert"), site))["alert"]
            assert alert["rule"].startswith("anything moves") and alert["source"] == "simulated"
            assert isinstance(alert["price"], str) and float(alert["price"]) > 0

    asyncio.run(talk())


def test_a_replay_tells_of_itself_as_the_schema_has_it(site):
    async def talk():
        began = int((time.time() - 5) * 1_000_000)
        async with connect(f"ws://{site.address}/ws/replay?from={began}&speed=2", max_size=None) as client:
            await say(client, type="subscribe", channel="ticks", symbols=["BTC-USD"])
            await say(client, type="subscribe", channel="health")
            health = await until(client, of("snapshot", "health"), site)
            assert [row["source"] for row in health["sources"]] == ["simulated"]
            await until(client, lambda message: message["type"] == "replay" and message["state"] == "playing", site)
            await say(client, type="replay", action="pause")
            await until(client, lambda message: message["type"] == "replay" and message["state"] == "paused", site)

    asyncio.run(talk())


def test_a_reconnect_goes_on_at_its_cursor(site):
    async def talk():
        async with connect(site.socket) as client:
            await say(client, type="subscribe", channel="ticks", symbols=["BTC-USD"])
            # One from before the server has read its history is none.
            update = await until(client, lambda m: m["type"] == "update" and "~" not in m["cursor"], site)
        async with connect(site.socket) as client:
            await say(client, type="subscribe", channel="ticks", symbols=["BTC-USD"], cursor=update["cursor"])
            snapshot = await until(client, of("snapshot"), site)
            assert (snapshot["reason"], snapshot["full"]) == ("resumed", False)
            offsets = [(row["partition"], row["offset"]) for row in snapshot["ticks"]]
            known = dict(part.split(":") for part in update["cursor"].split("@")[1].split(","))
            assert all(offset > int(known.get(str(partition), -1)) for partition, offset in offsets)

    asyncio.run(talk())


@pytest.mark.parametrize(
    "text, code",
    [
        ("{", "bad_message"),
        ("[]", "bad_message"),
        ('{"type":"subscribe"}', "bad_message"),
        ('{"type":"subscribe","channel":"weather"}', "bad_message"),
        ('{"type":"subscribe","channel":"candles"}', "bad_message"),
        ('{"type":"subscribe","channel":"candles","tf":"2m"}', "bad_message"),
        ('{"type":"subscribe","channel":"ticks","symbols":"BTC-USD"}', "bad_message"),
        ('{"type":"jump"}', "unknown_type"),
        (json.dumps({"type": "subscribe", "channel": "ticks", "symbols": ["X" * 65]}), "too_much"),
        (json.dumps({"type": "subscribe", "channel": "ticks", "symbols": [f"S{i}" for i in range(600)]}), "too_much"),
        (b"\x00\x01", "bad_message"),
    ],
)
def test_what_is_not_understood_is_answered_and_changes_nothing(site, text, code):
    async def talk():
        async with connect(site.socket) as client:
            await client.send(text)
            error = await until(client, of("error"), site)
            assert error["code"] == code
            await say(client, type="ping", id=1)
            await until(client, of("pong"), site)

    asyncio.run(talk())


def test_a_giant_and_a_flood_of_subscriptions_end_only_their_own_connection(site):
    async def talk():
        async with connect(site.socket) as quiet:
            async with connect(site.socket) as giant:
                with pytest.raises(websockets.ConnectionClosed):
                    await giant.send("x" * (1 << 20))
                    while True:
                        await asyncio.wait_for(giant.recv(), PATIENCE)
            # It reads all the while: what is said last is not to be lost in its own buffers.
            async with connect(site.socket, max_size=None, max_queue=None) as flood:
                with pytest.raises(websockets.ConnectionClosed):
                    for i in range(10_000):
                        await say(flood, type="subscribe", id=i, channel="ticks", symbols=[f"S{i}-USD"])
                        await asyncio.sleep(0)
                    await asyncio.sleep(PATIENCE)
                    await say(flood, type="ping")
                last = None
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    while True:
                        last = json.loads(await asyncio.wait_for(flood.recv(), PATIENCE))
                        site.check(last)
                assert (last["type"], last["code"]) == ("error", "rate_limited")
                assert closed.value.rcvd.code == 1008
            await say(quiet, type="ping")
            await until(quiet, of("pong"), site)

    asyncio.run(talk())


def test_a_foreign_origin_is_refused(site):
    async def talk(origin):
        async with connect(site.socket, origin=origin):
            return 101

    with pytest.raises(websockets.InvalidStatus) as refused:
        asyncio.run(talk("https://evil.example"))
    assert refused.value.response.status_code == 403
    assert asyncio.run(talk(f"http://{site.address}")) == 101


def test_who_never_reads_does_not_slow_the_others(site):
    conflated = site.dashboard.metric("tickstream_dashboard_conflated_total")

    async def talk():
        deaf = []
        for _ in range(20):
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, port = site.address.split(":")
            raw.connect((host, int(port)))
            raw.setblocking(False)
            client = await connect(site.socket, sock=raw, max_queue=1)
            # More than the sockets' buffers take soon: every candle of every width with each tick.
            await say(client, type="subscribe", channel="ticks")
            for tf in ("1s", "1m", "5m", "1h", "1d"):
                await say(client, type="subscribe", channel="candles", tf=tf)
            client.transport.pause_reading()
            deaf.append(client)
        async with connect(site.socket, max_size=None) as client:
            await say(client, type="subscribe", channel="ticks")
            rows, deadline = 0, time.monotonic() + PATIENCE
            # Until the server has met those who do not read, and the one who does has got what came meanwhile.
            while rows < 1000 or site.dashboard.metric("tickstream_dashboard_conflated_total") < conflated + len(deaf):
                assert time.monotonic() < deadline, f"{rows} rows"
                rows += len((await until(client, of("update"), site))["ticks"])
        for client in deaf:
            client.transport.abort()

    asyncio.run(talk())


def test_a_thousand_connect_in_a_second(site):
    async def talk():
        async def one():
            async with connect(site.socket, open_timeout=PATIENCE) as client:
                await say(client, type="subscribe", channel="ticks", symbols=["BTC-USD"])
                return await until(client, of("snapshot"))

        snapshots = await asyncio.gather(*(one() for _ in range(1000)))
        assert len(snapshots) == 1000

    asyncio.run(talk())


def test_server_sent_events_and_polling_say_the_same(site):
    url = f"http://{site.address}/api/v1"
    with requests.get(f"{url}/stream?channels=ticks,health&symbols=BTC-USD", stream=True, timeout=PATIENCE) as stream:
        kinds, seq = set(), 0
        for line in stream.iter_lines(chunk_size=1):
            if line.startswith(b"data: "):
                message = json.loads(line[6:])
                site.check(message)
                seq += 1
                assert message["seq"] == seq
                kinds.add((message["type"], message.get("channel")))
            if {("update", "ticks"), ("snapshot", "health"), ("heartbeat", None)} <= kinds:
                break
    latest = requests.get(f"{url}/latest?symbols=BTC-USD", timeout=PATIENCE).json()
    assert latest["ticks"] and latest["feed"] == {"state": "live"}
    newer = requests.get(f"{url}/latest", params={"symbols": "BTC-USD", "cursor": latest["cursor"]}, timeout=PATIENCE).json()
    assert all(row["offset"] > latest["ticks"][0]["offset"] for row in newer["ticks"])


def test_who_is_not_there_any_more_is_let_go(site):
    # Asked by a ping, which it does not answer.
    assert 20 < site.half_open.seconds_until_closed(100) < 100
    # Never asked for anything, or for half of it.
    assert 10 < site.wordless.seconds_until_closed(100) < 100
    assert 10 < site.half_a_request.seconds_until_closed(100) < 100


def test_a_server_that_ends_says_so(site):
    async def talk():
        async with connect(site.socket, max_size=None) as client:
            await say(client, type="subscribe", channel="ticks")
            await until(client, of("snapshot"), site)
            await asyncio.to_thread(site.dashboard.stop)
            told = await until(client, of("shutdown"), site)
            assert told["retry_after_ms"] > 0

    asyncio.run(talk())

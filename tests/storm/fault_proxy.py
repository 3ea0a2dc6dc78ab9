"""An S3 store that fails in every known way: passes requests on to a real one, and by chance drops answers after the write,
writes late, refuses, lies or is slow. Bytes are passed on as they came, so signatures hold. What the real store answered is
kept in a ledger: each object's ETags and how often it was written, whatever the client was told.

`fault_proxy.py PORT UPSTREAM_HOST:PORT LEDGER SEED`. SIGUSR1: from now on no faults. SIGTERM: write the ledger, end."""

import asyncio
import json
import random
import signal
import sys
from collections import Counter, defaultdict
from email.utils import formatdate
from urllib.parse import unquote

# Per mille of the requests. 2 % of the answers are dropped after the write; delays give kills and stops time to fall in
# the middle of one.
FAULTS_OF_ANY = {"answer dropped": 20, "503": 8, "403": 2, "delayed": 150, "1 KB/s": 2, "date off": 1}
FAULTS_OF_PUT = {"written late": 20, "409": 8, "412": 2, "200 with an error": 2, "500": 4, "507": 2, "wrong etag": 2}
REFUSALS = {
    "503": (503, "Slow Down", "SlowDown"),
    "403": (403, "Forbidden", "AccessDenied"),
    "409": (409, "Conflict", "ConditionalRequestConflict"),
    "412": (412, "Precondition Failed", "PreconditionFailed"),
    "500": (500, "Internal Server Error", "InternalError"),
    "507": (507, "Insufficient Storage", "InsufficientStorage"),
    "200 with an error": (200, "OK", "InternalError"),
}


class Answer:
    """What the real store answered."""

    def __init__(self, head, body):
        self.head, self.body = head, body
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    def with_header(self, name, value):
        """The bytes, with another value in one header."""
        lines = [line for line in self.head.decode("latin-1").rstrip("\r\n").split("\r\n")
                 if not line.lower().startswith(f"{name}:")]
        return "\r\n".join([*lines, f"{name}: {value}", "", ""]).encode("latin-1") + self.body

    def bytes(self):
        return self.head + self.body


class Proxy:
    def __init__(self, upstream, seed):
        self.host, port = upstream.rsplit(":", 1)
        self.port = int(port)
        self.chance = random.Random(seed)
        self.calm = False
        self.answers, self.faults = Counter(), Counter()
        self.etags, self.written = defaultdict(set), Counter()
        self.late = set()

    def choose(self, method, key):
        # A process that meets a fault before it has begun ends; what is tested here is what runs.
        if self.calm or not key or "/_probe/" in key:
            return None
        faults = {**FAULTS_OF_ANY, **(FAULTS_OF_PUT if method == "PUT" else {})}
        at = self.chance.uniform(0, 1000)
        for name, share in faults.items():
            at -= share
            if at < 0:
                self.faults[name] += 1
                return name
        return None

    async def forward(self, method, key, request):
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            while head.split(b" ", 2)[1].startswith(b"1"):
                head = await reader.readuntil(b"\r\n\r\n")
            answer = Answer(head, b"")
            if method != "HEAD" and answer.status not in (204, 304):
                answer.body = await body_of(reader, answer.headers)
        finally:
            writer.close()
        if "/_probe/" not in key:
            self.answers[f"{method} {answer.status}"] += 1
        if answer.status == 200 and method in ("PUT", "HEAD", "GET") and "etag" in answer.headers:
            self.etags[key].add(answer.headers["etag"])
            if method == "PUT":
                self.written[key] += 1
        return answer

    async def serve(self, reader, writer):
        try:
            while await self.exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        finally:
            writer.close()

    async def exchange(self, reader, writer):
        """One request and its answer. False: the connection is cut."""
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "expect" in headers:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = head + await body_of(reader, headers)
        _, _, key = unquote(path.split("?")[0]).lstrip("/").partition("/")
        fault = self.choose(method, key)
        if fault in REFUSALS:
            writer.write(refusal(method, *REFUSALS[fault]))
            await writer.drain()
            return True
        # Begun, a request is carried out although its sender has gone: shielded, and in a task of its own.
        forwarding = asyncio.ensure_future(self.after(self.wait_before(fault, request), method, key, request))
        self.late.add(forwarding)
        forwarding.add_done_callback(self.late.discard)
        if fault == "written late":
            return False
        answer = await asyncio.shield(forwarding)
        if fault == "answer dropped":
            return False
        if fault == "wrong etag" and "etag" in answer.headers:
            writer.write(answer.with_header("etag", '"0123456789abcdef0123456789abcdef"'))
        elif fault == "date off":
            writer.write(answer.with_header("date", formatdate(usegmt=True, timeval=5e8)))
        elif fault == "1 KB/s":
            data = answer.bytes()
            for at in range(0, len(data), 128):
                writer.write(data[at:at + 128])
                await writer.drain()
                await asyncio.sleep(0.125)
        else:
            writer.write(answer.bytes())
        await writer.drain()
        return True

    def wait_before(self, fault, request):
        if fault == "written late":
            return self.chance.uniform(0.2, 6)
        if fault == "delayed":
            return self.chance.uniform(0.02, 1)
        return min(len(request) / 1024, 20) if fault == "1 KB/s" else 0

    async def after(self, seconds, method, key, request):
        await asyncio.sleep(seconds)
        return await self.forward(method, key, request)

    def ledger(self):
        return {
            "answers": self.answers,
            "faults": self.faults,
            "etags": {key: sorted(etags) for key, etags in self.etags.items()},
            "written": self.written,
        }


async def body_of(reader, headers):
    """A body as it is sent, chunk lines and all."""
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(line.split(b";")[0], 16) + 2)
        body += line + chunk
        if chunk == b"\r\n":
            return body


def refusal(method, status, reason, code):
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>by chance</Message></Error>'
    head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/xml\r\ndate: {formatdate(usegmt=True)}\r\n"
    if method == "HEAD":
        return f"{head}content-length: 0\r\n\r\n".encode()
    return f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


async def main(port, upstream, ledger, seed):
    proxy = Proxy(upstream, seed)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: setattr(proxy, "calm", True))
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port, limit=1 << 24)
    await ended.wait()
    server.close()
    # What was begun is carried out: a late write may land after its writer has gone.
    await asyncio.gather(*proxy.late, return_exceptions=True)
    with open(ledger, "w") as file:
        json.dump(proxy.ledger(), file)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))

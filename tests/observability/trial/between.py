"""What stands between a service and its database or object store, and can fail: a gate that is shut, a store that refuses or
is slow. Bytes are passed on as they came."""

import asyncio
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "storm"))

from fault_proxy import Proxy  # noqa: E402


class Between:
    """Listens on a thread of its own."""

    def __init__(self, upstream):
        self.host, port = upstream.rsplit(":", 1)
        self.upstream_port = int(port)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.port = 0
        self.open()

    def _do(self, what):
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(20)

    def open(self):
        async def listen():
            self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port, limit=1 << 24)
            self.port = self.server.sockets[0].getsockname()[1]

        self._do(listen())


class Gate(Between):
    """Shut, it refuses connections and cuts those that there are, as a server does that has ended."""

    def __init__(self, upstream):
        self.connected = set()
        super().__init__(upstream)

    def shut(self):
        async def stop():
            self.server.close()
            for writer in list(self.connected):
                writer.transport.abort()

        self._do(stop())

    async def serve(self, reader, writer):
        upstream_reader, upstream_writer = await asyncio.open_connection(self.host, self.upstream_port)
        self.connected |= {writer, upstream_writer}
        try:
            await asyncio.gather(self.pass_on(reader, upstream_writer), self.pass_on(upstream_reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            for one in (writer, upstream_writer):
                self.connected.discard(one)
                one.transport.abort()

    @staticmethod
    async def pass_on(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.transport.abort()


class Failing(Proxy):
    """`refuses`: every request gets 503; `delay`: each answer comes so many seconds late."""

    def __init__(self, upstream):
        super().__init__(upstream, seed=0)
        self.refuses, self.delay = False, 0

    def choose(self, method, key):
        return "503" if self.refuses else None

    async def forward(self, method, key, request):
        await asyncio.sleep(self.delay)
        return await super().forward(method, key, request)


class Store(Between):
    """An S3 store that can refuse and be slow."""

    def __init__(self, upstream):
        self.proxy = Failing(upstream)
        super().__init__(upstream)

    async def serve(self, reader, writer):
        await self.proxy.serve(reader, writer)

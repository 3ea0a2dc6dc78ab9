"""Exchanges as far as the producer can tell: real HTTP and WebSocket on loopback, serving what they are given."""

import asyncio
import json
import threading

from aiohttp import WSMsgType, web


class Exchanges:
    """CoinGecko's simple/price answers `coingecko`; each Coinbase socket gets `coinbase` (frames), then a heartbeat a second."""

    def __init__(self, coingecko=b"{}", coinbase=()):
        self.coingecko, self.coinbase = coingecko, list(coinbase)
        self.requests, self.subscriptions = [], []
        self.loop = asyncio.new_event_loop()
        self.started = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.started.wait(10)

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve())
        self.loop.run_forever()

    async def _serve(self):
        app = web.Application()
        app.router.add_get("/api/v3/simple/price", self._simple_price)
        app.router.add_get("/coinbase", self._coinbase)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self.started.set()

    async def _simple_price(self, request):
        self.requests.append(str(request.rel_url))
        return web.Response(body=self.coingecko, content_type="application/json")

    async def _coinbase(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        message = await socket.receive()
        assert message.type == WSMsgType.TEXT
        subscription = json.loads(message.data)
        self.subscriptions.append(subscription)
        for frame in self.coinbase:
            await socket.send_str(frame)
        products = subscription["product_ids"]
        while not socket.closed:
            for product in products:
                heartbeat = {"type": "heartbeat", "product_id": product, "sequence": 0, "last_trade_id": 0,
                             "time": "2026-01-01T00:00:00.000000Z"}
                await socket.send_str(json.dumps(heartbeat))
            await asyncio.sleep(1)
        return socket

    def settings(self, coins, currencies, products, symbols_file):
        """What tells the producer to read from here; `coins` maps CoinGecko's ids to symbols. The table of symbols is written
        to `symbols_file`: recorded sessions have products that nobody lists any more."""
        names = {}
        for coin, base in coins.items():
            for currency in currencies:
                names.setdefault(f"{base}-{currency.upper()}", {})["coingecko"] = f"{coin}/{currency}"
        asked = list(names)
        for product in products:
            names.setdefault(product, {})["coinbase"] = product
        lines = [f"{symbol} = {{ " + ", ".join(f'{source} = "{name}"' for source, name in of.items()) + " }"
                 for symbol, of in names.items()]
        symbols_file.write_text('quotes = ["USD", "BRL"]\n[symbols]\n' + "\n".join(lines) + "\n")
        return {
            "PRODUCER_SOURCES": "coingecko,coinbase",
            "PRODUCER_SYMBOLS_FILE": str(symbols_file),
            "COINGECKO_BASE_URL": f"http://127.0.0.1:{self.port}",
            "COINGECKO_SYMBOLS": ",".join(asked),
            "COINGECKO_POLL_SECONDS": "1",
            "COINGECKO_BUDGET": "unlimited",
            "COINBASE_WS_URL": f"ws://127.0.0.1:{self.port}/coinbase",
            "COINBASE_SYMBOLS": ",".join(products),
            # A busy machine may be late with a heartbeat; that a silent socket is left is tested with the producer.
            "COINBASE_SILENCE_SECONDS": "30",
        }

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

"""The outside world on loopback: four sources and two webhooks. Each does well until it is told not to."""

import asyncio
import itertools
import json
import threading
import time
from datetime import UTC, datetime

from aiohttp import WSMsgType, web

PRICE = 100.0
TRADES_A_SECOND = 10


def now():
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Outside:
    def __init__(self):
        # What each of them answers with; a webhook's status.
        self.coingecko, self.coinmarketcap, self.hooks = 200, 200, {"pager": 200, "desk": 200}
        # What a trade of Coinbase's says its price is.
        self.coinbase = PRICE
        self.trades = itertools.count(900_000_001)
        self.polls = itertools.count()
        started = threading.Event()
        threading.Thread(target=self._run, args=(started,), daemon=True).start()
        assert started.wait(10)

    def _run(self, started):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(self._serve())
        started.set()
        loop.run_forever()

    async def _serve(self):
        app = web.Application()
        app.router.add_get("/api/v3/simple/price", self._coingecko)
        app.router.add_get("/v2/cryptocurrency/quotes/latest", self._coinmarketcap)
        app.router.add_get("/json/last/{pairs}", self._awesomeapi)
        app.router.add_get("/coinbase", self._coinbase)
        app.router.add_post("/hooks/{channel}", self._hook)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"

    async def _coingecko(self, _):
        if self.coingecko != 200:
            return web.Response(status=self.coingecko, text="made to fail")
        price = PRICE + next(self.polls) % 100 / 1000
        return web.json_response({"bitcoin": {"usd": price, "last_updated_at": int(time.time())}})

    async def _coinmarketcap(self, _):
        def status(code, message):
            return {"timestamp": now(), "error_code": code, "error_message": message, "elapsed": 1, "credit_count": 1, "notice": None}

        if self.coinmarketcap != 200:
            return web.json_response({"status": status(1001, "This API Key is invalid.")}, status=self.coinmarketcap)
        quote = {"price": 50 + next(self.polls) % 100 / 1000, "last_updated": now()}
        coin = {"id": 1027, "name": "Ethereum", "symbol": "ETH", "slug": "ethereum", "is_active": 1, "last_updated": now(), "quote": {"USD": quote}}
        return web.json_response({"status": status(0, None), "data": {"1027": coin}})

    async def _awesomeapi(self, _):
        cents = next(self.polls) % 100
        return web.json_response({"USDBRL": {
            "code": "USD", "codein": "BRL", "name": "Dólar Americano/Real Brasileiro", "high": "5.60", "low": "5.40", "varBid": "0.01",
            "pctChange": "0.1", "bid": f"5.43{cents:02}", "ask": f"5.44{cents:02}", "timestamp": str(int(time.time())),
            "create_date": datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
        }})

    async def _coinbase(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        message = await socket.receive()
        assert message.type == WSMsgType.TEXT
        [product] = json.loads(message.data)["product_ids"]
        await socket.send_str(json.dumps({"type": "subscriptions", "channels": [{"name": "matches", "product_ids": [product]}]}))
        try:
            await self._trade(socket, product)
        except ConnectionError:
            pass  # The producer has ended.
        return socket

    async def _trade(self, socket, product):
        while not socket.closed:
            for _ in range(TRADES_A_SECOND):
                trade = next(self.trades)
                price = None if self.coinbase is None else f"{self.coinbase + trade % 100 / 1000:.3f}"
                await socket.send_str(json.dumps({
                    "type": "match", "trade_id": trade, "side": "sell", "size": "0.5", "price": price, "product_id": product,
                    "sequence": trade, "time": now(),
                }))
                await asyncio.sleep(1 / TRADES_A_SECOND)
            await socket.send_str(json.dumps({
                "type": "heartbeat", "product_id": product, "sequence": trade, "last_trade_id": trade, "time": now(),
            }))

    async def _hook(self, request):
        return web.Response(status=self.hooks[request.match_info["channel"]])

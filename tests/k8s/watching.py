"""What is seen from outside while the tests do their worst: prices on the page's socket, pods that are not ready, and what the
node says that each container takes."""

import json
import threading
import time

from cluster import Forward, is_ready, kubectl, name_of, objects, pods, restarts
from websockets.sync.client import connect


class Background:
    """A loop on a thread of its own, until it is stopped."""

    def __init__(self):
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while not self.stopping.is_set():
            try:
                self.turn()
            except Exception as error:  # an outage is what is watched; it is told by what is not seen
                self.trouble = error
                self.stopping.wait(0.5)

    def close(self):
        self.stopping.set()
        self.thread.join(timeout=30)


class Prices(Background):
    """When a price came, over the dashboard's WebSocket; the port-forward is made anew when its pod goes."""

    def __init__(self):
        self.at = []
        self.last = {}
        self.forward = Forward("service/dashboard", 80)
        super().__init__()

    def turn(self):
        self.forward.ensure()
        try:
            with connect(f"ws://127.0.0.1:{self.forward.port}/ws", max_size=None, open_timeout=5, close_timeout=1) as socket:
                socket.send(json.dumps({"type": "subscribe", "channel": "ticks"}))
                while not self.stopping.is_set():
                    # A heartbeat comes every second.
                    message = json.loads(socket.recv(timeout=6))
                    if message["type"] == "update":
                        self.at.append(time.monotonic())
                        self.last.update({tick["symbol"]: tick["price"] for tick in message["ticks"]})
        except Exception:
            self.forward.close()
            raise

    def longest_silence(self, since, until=None):
        until = until or time.monotonic()
        times = [since, *(at for at in self.at if since < at < until), until]
        return max(later - earlier for earlier, later in zip(times, times[1:], strict=False))

    def come(self, since):
        return any(at > since for at in self.at[-5:])

    def close(self):
        super().close()
        self.forward.close()


class Readiness(Background):
    """Which workloads had a pod that was not ready, and when: what `kubectl get pods` shows."""

    def __init__(self):
        self.unready = []
        super().__init__()

    def turn(self):
        now = time.monotonic()
        seen = {}
        for pod in pods():
            if pod["metadata"]["labels"].get("batch.kubernetes.io/job-name"):
                continue
            name = name_of(pod)
            seen[name] = seen.get(name, False) or is_ready(pod)
        self.unready.append((now, frozenset(name for name, ready in seen.items() if not ready)))
        self.stopping.wait(1)

    def between(self, since, until):
        return sorted({name for at, names in self.unready if since <= at <= until for name in names})


class Consumption(Background):
    """Each container's memory and CPU as the node's kubelet reads them from its cgroup: the most that was seen, and the mean."""

    def __init__(self):
        [self.node] = {pod["spec"]["nodeName"] for pod in pods()} or {None}
        self.samples = {}
        super().__init__()

    def turn(self):
        summary = json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{self.node}/proxy/stats/summary"))
        labels = {pod["metadata"]["name"]: name_of(pod) for pod in objects("pods") if "app.kubernetes.io/name" in pod["metadata"]["labels"]}
        for pod in summary["pods"]:
            name = labels.get(pod["podRef"]["name"])
            if pod["podRef"]["namespace"] != "tickstream" or name is None:
                continue
            for container in pod.get("containers", []):
                memory = container.get("memory", {}).get("workingSetBytes")
                cpu = container.get("cpu", {}).get("usageNanoCores")
                if memory is not None and cpu is not None:
                    when = container["memory"]["time"]
                    self.samples.setdefault((name, container["name"]), {})[when] = (memory / 2**20, cpu / 1e6)
        self.stopping.wait(5)


def restart_counts():
    return {pod["metadata"]["name"]: restarts(pod) for pod in pods()}


def warnings():
    """{(workload or object, reason, message): how often} of the events that a person is warned by."""
    found = {}
    for event in objects("events"):
        if event["type"] == "Warning":
            about = event["involvedObject"]["name"]
            key = (about, event["reason"], event["message"].strip()[:160])
            found[key] = found.get(key, 0) + (event.get("count") or 1)
    return found

"""The stack and our services, run as their users run them: the real binaries, told by environment."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
PATIENCE = 60.0


def wait_until(what, condition, patience=PATIENCE):
    """Waits for an observable effect; gives what `condition` gave."""
    deadline = time.monotonic() + patience
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"waited {patience} s for {what}"
        time.sleep(0.05)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# As `tickstream topics apply` makes them.
TICK_PARTITIONS = 4


class Service:
    """One running binary. `settings` are environment variables."""

    def __init__(self, world, name, settings):
        self.name, self.world = name, world
        self.admin = f"127.0.0.1:{free_port()}"
        self.settings = {**settings, "ADMIN_ADDR": self.admin}
        self.log = world.folder / f"{name}.log"
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BINARIES / self.name],
                env={**os.environ, **self.world.environment, **self.settings},
                stdout=log,
                stderr=log,
            )
        return self

    def ready(self):
        wait_until(f"{self.name} to be ready\n{self.tail()}", lambda: self.get("/readyz") is not None)
        return self

    def get(self, path):
        """The admin server's answer, or None while it is not a success."""
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}\n{self.tail()}"
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=5) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def metric(self, name):
        """The sum of a metric over its labels."""
        lines = (self.get("/metrics") or "").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def caught_up(self):
        """Whether the consumer has told a lag of every partition of the ticks, and of nothing it has any. While a killed member
        is not yet missed, the group may have given some of the partitions to it."""
        lines = (self.get("/metrics") or "").splitlines()
        lags = [line for line in lines if line.startswith("tickstream_consumer_lag{")]
        ticks = [line for line in lags if 'topic="market.ticks.v1"' in line]
        return len(ticks) == TICK_PARTITIONS and all(float(line.rsplit(" ", 1)[1]) == 0 for line in lags)

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else ""

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM, and the service must end well within its grace period."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=40)
        assert code == 0, f"{self.name} ended with {code}\n{self.tail()}"


class World:
    """A stack of its own with the declared topics, and the services that a test starts in it."""

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "data"
        self.services = []
        env_file = folder / "env"
        self.stack_log = (folder / "stack.log").open("wb")
        self.stack = subprocess.Popen(
            [BINARIES / "stack", "up", "--data-dir", self.data, "--env-file", env_file],
            stdout=self.stack_log,
            stderr=self.stack_log,
        )
        try:
            wait_until("the stack", lambda: env_file.exists() or self.stack.poll() is not None)
            assert self.stack.poll() is None, (folder / "stack.log").read_text()
            self.environment = self._variables(env_file)
            self.tickstream("topics", "apply")
        except BaseException:
            self.stack.kill()
            raise

    @staticmethod
    def _variables(env_file):
        """What a shell has after sourcing the file."""
        names = subprocess.run(
            ["bash", "-c", 'set -a; . "$1"; env -0', "-", env_file],
            check=True, capture_output=True, env={"PATH": os.environ["PATH"]},
        ).stdout
        pairs = (entry.split("=", 1) for entry in names.decode().split("\0") if "=" in entry)
        return {name: value for name, value in pairs if name not in ("PATH", "PWD", "SHLVL", "_")}

    def start(self, name, **settings):
        service = Service(self, name, settings).start()
        self.services.append(service)
        return service

    def tickstream(self, *arguments, check=True):
        result = subprocess.run(
            [BINARIES / "tickstream", *arguments],
            env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=300,
        )
        assert not check or result.returncode == 0, f"{arguments}: {result.stdout}{result.stderr}"
        return result

    def audit(self):
        """The audit's JSON; it must have found everything equal."""
        result = self.tickstream("audit", "-o", "json", check=False)
        assert result.returncode == 0, f"audit exit {result.returncode}\n{result.stdout[-3000:]}{result.stderr}"
        report = json.loads(result.stdout)
        assert report["equal"] and report["totals"]["differences"] == 0
        return report["totals"]

    def close(self):
        try:
            for service in self.services:
                service.stop()
        finally:
            for service in self.services:
                if service.process is not None and service.process.poll() is None:
                    service.process.kill()
            self.stack.send_signal(signal.SIGTERM)
            self.stack.wait(timeout=60)
            self.stack_log.close()

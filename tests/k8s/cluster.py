"""A cluster as its user has it: through kubectl."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMESPACE = "tickstream"
SERVICES = ["producer", "consumer-lake", "refiner", "consumer-db", "consumer-alerts", "dashboard"]
SERVERS = ["kafka", "postgres", "s3"]
GROUPS = ["consumer-db", "consumer-lake", "consumer-alerts"]
PATIENCE = int(os.environ.get("PATIENCE", "600"))


def say(text):
    print(f"  {time.strftime('%H:%M:%S')} {text}", flush=True)


def kubectl(*arguments, check=True, timeout=PATIENCE, text=None, namespace=NAMESPACE):
    """What kubectl says; without `check` the whole answer, exit code and all."""
    command = ["kubectl", f"--namespace={namespace}", *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, input=text)
    if not check:
        return result
    assert result.returncode == 0, f"{' '.join(command)}: {result.stdout}{result.stderr}"
    return result.stdout


def objects(kind, *arguments):
    return json.loads(kubectl("get", kind, "--output=json", *arguments))["items"]


def pods(name=None):
    """The pods that are not ended Jobs', oldest first; of one workload when it is named."""
    found = objects("pods", *([f"--selector=app.kubernetes.io/name={name}"] if name else []))
    alive = [pod for pod in found if pod["status"]["phase"] not in ("Succeeded", "Failed")]
    return sorted(alive, key=lambda pod: pod["metadata"]["creationTimestamp"])


def name_of(pod):
    return pod["metadata"]["labels"]["app.kubernetes.io/name"]


def is_ready(pod):
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"].get("conditions", []))


def restarts(pod):
    return sum(status["restartCount"] for status in pod["status"].get("containerStatuses", []))


def until(what, is_so, patience=PATIENCE, every=0.5):
    """Seconds until it is so."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < patience, f"{what}: not within {patience} s"
        time.sleep(every)
    return time.monotonic() - began


def workload_of(name):
    return f"statefulset/{name}" if name in SERVERS else f"deployment/{name}"


def wait_for_rollout(*names):
    for name in names or [*SERVERS, *SERVICES, "toolbox"]:
        kubectl("rollout", "status", workload_of(name), f"--timeout={PATIENCE}s", timeout=PATIENCE + 30)


def toolbox(*command, check=True):
    return kubectl("exec", "deployment/toolbox", "--", *command, check=check)


def lags():
    """{group: records that it is behind, over all its topics}, by the toolbox."""
    result = toolbox("tickstream", "groups", "--output=json", check=False)
    found = {}
    for row in json.loads(result.stdout or "[]"):
        found[row["group"]] = found.get(row["group"], 0) + (row["lag"] or 0)
    return found


def all_are_within(records):
    """Whether every group is known and no more than so many records behind."""
    behind = lags()
    return all(group in behind and behind[group] <= records for group in GROUPS)


@contextlib.contextmanager
def sources_stopped():
    """No record is under way within: the sources are stopped, and everybody has written everything."""
    kubectl("scale", "deployment/producer", "--replicas=0")
    try:
        until("the producer has ended", lambda: not pods("producer"))
        until("all is written", lambda: all_are_within(0), every=1)
        yield
    finally:
        kubectl("scale", "deployment/producer", "--replicas=1")
        wait_for_rollout("producer")


def audit(name):
    """What the CronJob's own Job says when it is run now: the counts are equal to the last record."""
    with sources_stopped():
        began = time.monotonic()
        kubectl("create", "job", "--from=cronjob/audit", name)

        def ended():
            status = json.loads(kubectl("get", "job", name, "--output=json")).get("status", {})
            return status.get("succeeded") or status.get("failed")

        until(f"the audit {name} ends", ended)
        said = kubectl("logs", f"job/{name}", "--container=audit")
        status = json.loads(kubectl("get", "job", name, "--output=json"))["status"]
        kubectl("delete", "job", name)
    assert status.get("succeeded") == 1, said
    verdict = [line for line in said.splitlines() if line.startswith("EQUAL")]
    assert verdict, said
    say(f"audited in {time.monotonic() - began:.0f} s: {verdict[-1]}")


class Forward:
    """`kubectl port-forward` to a Service, started again when the pod behind it goes."""

    def __init__(self, target, port):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = ["kubectl", f"--namespace={NAMESPACE}", "port-forward", target, f"{self.port}:{port}"]
        self.process = None

    def ensure(self):
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            until("the port is forwarded or refused", lambda: self.process.poll() is not None or self.is_open(), 60, every=0.1)

    def is_open(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self.process = None

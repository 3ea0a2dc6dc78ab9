"""From nothing to a running installation, once for all tests, which run in the order of ORDER; and away again."""

import json
import os
import time

import pytest
from cluster import NAMESPACE, ROOT, kubectl, say, until, wait_for_rollout
from watching import Consumption, Prices, Readiness

ORDER = ["test_start", "test_refusals", "test_replay", "test_faults", "test_figures"]


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: ORDER.index(item.module.__name__))


@pytest.fixture(scope="session")
def installation():
    """Everything applied and ready, with the times that it took."""
    again = bool(os.environ.get("AGAIN"))
    if kubectl("get", "namespace", NAMESPACE, check=False).returncode == 0 and not again:
        pytest.exit(f"a namespace {NAMESPACE} is there already, and not this test's to break (AGAIN=1: it is, as it stands)", 2)
    times = {}
    began = time.monotonic()
    if not again:
        kubectl("apply", "--kustomize", os.environ.get("OVERLAY", ROOT / "k8s/overlays/local"))
        times["applied"] = time.monotonic() - began
    for job in () if again else ("topics", "migrate"):
        until(f"Job {job}", lambda job=job: json.loads(kubectl("get", "job", job, "--output=json")).get("status", {}).get("succeeded"))
        times[f"Job {job} complete"] = time.monotonic() - began
    wait_for_rollout()
    times["every pod ready"] = time.monotonic() - began
    prices = Prices()
    until("a live price", lambda: prices.at)
    times["live prices"] = time.monotonic() - began
    say(", ".join(f"{what} after {seconds:.0f} s" for what, seconds in times.items()))
    watched = {"prices": prices, "readiness": Readiness(), "consumption": Consumption(), "times": times}
    yield watched
    for watch in (prices, watched["readiness"], watched["consumption"]):
        watch.close()
    if not os.environ.get("KEEP"):
        kubectl("delete", "namespace", NAMESPACE, "--wait=true")

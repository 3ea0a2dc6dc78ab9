"""Each pod is taken away under load, then all are rolled at once: what a person sees meanwhile, how long it lasts, and that no
record is missing or twice afterwards."""

import time

import pytest
from cluster import SERVERS, SERVICES, all_are_within, audit, is_ready, kubectl, pods, say, toolbox, until, wait_for_rollout, workload_of
from watching import restart_counts, warnings

DRILLS = [*((name, "deleted") for name in SERVICES), *((name, "deleted") for name in SERVERS),
          *((name, "killed") for name in ("producer", "consumer-lake", "consumer-db", "kafka"))]
TABLE = []


def caught_up():
    """The lake writes what ten seconds bring, so it is never at the very end."""
    return all_are_within(5000)


@pytest.fixture(scope="module")
def before(installation):
    until("all have caught up", caught_up)
    yield restart_counts()
    print("\n| fault | pod ready again | longest time without a price on the page | sinks caught up | not ready meanwhile |\n|---|---|---|---|---|")
    for row in TABLE:
        print("| " + " | ".join(row) + " |")


def drill(installation, fault, strike, is_back):
    prices, readiness = installation["prices"], installation["readiness"]
    began = time.monotonic()
    strike()
    ready = until(f"{fault}: ready again", is_back)
    until(f"{fault}: prices again", lambda: prices.come(time.monotonic() - 1))
    until(f"{fault}: caught up", caught_up)
    until(f"{fault}: all ready", lambda: all(is_ready(pod) for pod in pods() if not pod["metadata"]["labels"].get("batch.kubernetes.io/job-name")))
    ended = time.monotonic()
    silence = prices.longest_silence(began, ended)
    TABLE.append((fault, f"{ready:.0f} s", f"{silence:.1f} s", f"{ended - began:.0f} s", ", ".join(readiness.between(began, ended)) or "none"))
    say(" | ".join(TABLE[-1]))


@pytest.mark.parametrize(("name", "how"), DRILLS)
def test_a_pod_is_taken_away(installation, before, name, how):
    [old] = [pod for pod in pods(name) if is_ready(pod)]
    force = ["--grace-period=0", "--force"] if how == "killed" else []

    def strike():
        kubectl("delete", "pod", old["metadata"]["name"], "--wait=false", *force)

    def is_back():
        return any(is_ready(pod) and pod["metadata"]["uid"] != old["metadata"]["uid"] for pod in pods(name))

    drill(installation, f"pod of {name} {how}", strike, is_back)


def test_all_are_rolled_at_once(installation, before):
    old = {pod["metadata"]["uid"] for pod in pods()}

    def strike():
        kubectl("rollout", "restart", *map(workload_of, [*SERVERS, *SERVICES]))

    def is_back():
        return not {pod["metadata"]["uid"] for pod in pods() if not pod["metadata"]["name"].startswith("toolbox")} & old

    drill(installation, "rollout restart of everything", strike, is_back)
    wait_for_rollout()


def test_nothing_is_lost_and_nothing_is_twice(installation, before):
    audit("audit-after-faults")
    dead = toolbox("tickstream", "dlq", "list", check=False).stdout.strip()
    say(f"dead letters: {dead.splitlines()[-1] if dead else 'none'}")


def test_no_container_was_restarted_in_its_pod(installation, before):
    """An outage makes a service unready; a restart would not mend it, and none may have come of a probe."""
    assert {name: count for name, count in restart_counts().items() if count} == {}
    liveness = {event: count for event, count in warnings().items() if event[1] == "Unhealthy" and event[2].startswith("Liveness")}
    assert liveness == {}

"""What each container took, from its cgroup, over all of the above: inside its limits, and never killed for memory."""

from cluster import objects, pods

UNITS = {"Mi": 1, "Gi": 1024, "Ki": 1 / 1024}


def mebibytes(text):
    return float(text[:-2]) * UNITS[text[-2:]]


def millicores(text):
    return float(text[:-1]) if text.endswith("m") else float(text) * 1000


def test_each_container_is_inside_its_limits(installation):
    samples = installation["consumption"].samples
    wanted = {(pod["metadata"]["labels"]["app.kubernetes.io/name"], container["name"]): container["resources"]
              for pod in pods() if "app.kubernetes.io/name" in pod["metadata"]["labels"] for container in pod["spec"]["containers"]}
    assert len(wanted) >= 10
    print("\n| container | samples | memory mean | most | request | limit | CPU mean | most | request | limit |\n|---|---|---|---|---|---|---|---|---|---|")
    for key, resources in sorted(wanted.items()):
        taken = list(samples.get(key, {}).values())
        assert taken, f"{key}: the node has no figures"
        memory, cpu = [m for m, _ in taken], [c for _, c in taken]
        request, limit = resources["requests"], resources["limits"]
        print(f"| {key[0]} | {len(taken)} | {sum(memory) / len(memory):.0f} Mi | {max(memory):.0f} Mi | {request['memory']} | {limit['memory']} "
              f"| {sum(cpu) / len(cpu):.0f}m | {max(cpu):.0f}m | {request['cpu']} | {limit['cpu']} |")
        assert max(memory) < mebibytes(limit["memory"]), key
        # What a cgroup may take a period is exact; what is read over some seconds may straddle two.
        assert max(cpu) <= millicores(limit["cpu"]) * 1.1, key


def test_none_was_killed_for_memory(installation):
    for pod in pods():
        for status in pod["status"].get("containerStatuses", []):
            assert status.get("lastState", {}).get("terminated", {}).get("reason") != "OOMKilled", pod["metadata"]["name"]
    assert not [event for event in objects("events") if event["reason"] in ("OOMKilling", "Evicted")]

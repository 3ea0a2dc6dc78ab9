"""docker-compose.yaml resolves, starts things in an order that works, and confines them."""

import re

from conftest import READ_BY_LIBRARIES, ROOT, SERVICES, env_twins

ONE_SHOT = {"topics"}
# Renders its configuration below /opt/kafka at start.
WRITABLE_ROOT = {"kafka"}


def running(compose):
    return {name: service for name, service in compose["services"].items() if name not in ONE_SHOT}


def test_every_part_is_there(compose):
    assert {*SERVICES, "topics", "kafka", "postgres", "s3"} <= set(compose["services"])


def test_what_keeps_running_is_checked_and_restarted(compose):
    for name, service in running(compose).items():
        if "profiles" in service:
            continue
        assert service.get("healthcheck", {}).get("test"), name
        assert service["restart"] == "unless-stopped", name


def test_what_is_waited_for_can_say_that_it_is_ready(compose):
    for name, service in compose["services"].items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert how["condition"] == wanted, f"{name} on {other}"


def test_containers_are_confined(compose):
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service.get("read_only", False) is (name not in WRITABLE_ROOT), name
        assert "privileged" not in service and "cap_add" not in service, name


def test_only_this_machine_can_connect(compose):
    published = 0
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            published += 1
            host = port.get("host_ip") if isinstance(port, dict) else port.split(":")[0]
            assert host == "127.0.0.1", f"{name}: {port}"
    assert published >= 4


def test_images_are_pinned_and_built_here(compose, version):
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for name, service in compose["services"].items():
        image, _, tag = service["image"].partition(":")
        assert tag and tag != "latest", name
        if image.startswith("tickstream/"):
            assert tag == version, name
            assert image.removeprefix("tickstream/") in targets, name
        if "build" in service:
            assert image == f"tickstream/{service['build']['target']}", name


def test_every_setting_is_one_that_a_program_reads(compose):
    known = env_twins("pipeline", "cli", "stack", *SERVICES) | READ_BY_LIBRARIES
    for name, service in compose["services"].items():
        if service["image"].startswith("tickstream/"):
            assert set(service["environment"]) <= known, name


def test_no_image_is_built_twice(compose):
    built = [service["image"] for service in compose["services"].values() if "build" in service]
    used = {service["image"] for service in compose["services"].values() if service["image"].startswith("tickstream/")}
    assert sorted(built) == sorted(used)


def test_the_default_is_the_simulated_market(compose):
    assert compose["services"]["producer"]["environment"]["PRODUCER_SOURCES"] == "simulated"

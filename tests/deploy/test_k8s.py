"""The manifests render, fit the API's schemas, and hold to the rules that the pods are run by."""

import os
import re

import kubernetes_validate
import pytest
import yaml
from conftest import READ_BY_LIBRARIES, ROOT, SERVICES, env_twins, file_twins, render, template

SERVERS = ["kafka", "postgres", "s3"]
JOBS = ["topics", "migrate"]
CRON_JOBS = ["audit", "refiner-once", "retention", "b3"]
KUBERNETES = ["1.31.0", "1.34.0", "1.37.0"]


def containers(pod, init=True):
    return (pod.get("initContainers", []) if init else []) + pod["containers"]


def every_container(pods):
    return [(f"{name}/{container['name']}", container) for name, pod in pods.items() for container in containers(pod)]


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("folder", ["k8s/base", "k8s/overlays/local"])
def test_fits_the_schemas(folder, kubernetes):
    documents = render(folder)
    assert len(documents) > 5
    for document in documents:
        kubernetes_validate.validate(document, kubernetes, strict=True)


def test_no_object_twice_and_all_in_one_namespace(local):
    names = [(document["kind"], document["metadata"]["name"]) for document in local]
    assert len(names) == len(set(names))
    for document in local:
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == "tickstream", document["metadata"]["name"]


def test_every_part_is_there(workloads):
    assert set(workloads) == {*SERVICES, *SERVERS, *JOBS, *CRON_JOBS, "toolbox"}
    kinds = {name: workload["kind"] for name, workload in workloads.items()}
    assert {kinds[name] for name in JOBS} == {"Job"} and {kinds[name] for name in CRON_JOBS} == {"CronJob"}


def test_images_are_pinned_and_ours_are_of_this_version(pods, version):
    for name, container in every_container(pods):
        image, _, tag = container["image"].partition(":")
        assert tag and tag != "latest", f"{name}: {container['image']}"
        assert container["imagePullPolicy"] == "IfNotPresent", name
        if image.startswith("tickstream/"):
            assert tag == version, name


def test_images_have_a_target_in_the_dockerfile(pods):
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    ours = {container["image"].split("/")[1].split(":")[0] for _, container in every_container(pods)
            if container["image"].startswith("tickstream/")}
    assert ours and ours <= targets


def test_pods_are_not_root_and_hold_no_token(pods):
    for name, pod in pods.items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] > 0, name
        assert security["seccompProfile"]["type"] == "RuntimeDefault", name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["serviceAccountName"] != "default", name
        assert pod["enableServiceLinks"] is False, f"{name}: KAFKA_PORT and its like would reach the environment"


def test_containers_are_confined(pods):
    for name, container in every_container(pods):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"]["drop"] == ["ALL"], name
        assert "runAsUser" not in security and "privileged" not in security, name
        assert security["readOnlyRootFilesystem"] is True, name


def test_containers_say_what_they_need(pods):
    for name, container in every_container(pods):
        resources = container["resources"]
        assert {"cpu", "memory"} <= resources["requests"].keys(), name
        assert {"cpu", "memory"} <= resources["limits"].keys(), name


def test_what_keeps_running_is_probed(workloads, pods):
    for name, workload in workloads.items():
        # A toolbox waits for a person and serves nothing.
        if workload["kind"] in ("Job", "CronJob") or name == "toolbox":
            continue
        for container in containers(pods[name], init=False):
            assert {"livenessProbe", "readinessProbe", "startupProbe"} <= container.keys(), name
            if name in SERVICES:
                assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}, name
                assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}, name
                assert {"name": "admin", "containerPort": 9100} in container["ports"], name


def test_a_slow_node_restarts_nothing(workloads, pods):
    """A probe that is answered late by a node without a free processor must not take the little that there is."""
    for name in [*SERVICES, *SERVERS]:
        [container] = containers(pods[name], init=False)
        liveness = container["livenessProbe"]
        assert liveness["timeoutSeconds"] >= 10 and liveness["periodSeconds"] * liveness["failureThreshold"] >= 60, name


def test_grace_is_above_the_drain(pods):
    drains = [int(seconds) for path in ROOT.glob("*/src/**/*.rs")
              for seconds in re.findall(r"(?:DRAIN: Duration =|\bdrain:) Duration::from_secs\((\d+)\)", path.read_text())]
    assert len(drains) > 1, "no service says how long it drains"
    for name in SERVICES:
        assert pods[name]["terminationGracePeriodSeconds"] >= max(drains) + 10, name


def test_no_two_versions_write_one_database(workloads):
    strategy = workloads["consumer-db"]["spec"]["strategy"]
    assert strategy == {"type": "Recreate"}, "an old writer beside a new one, in a schema that the new one has migrated"


def test_services_reach_pods(local, workloads):
    for service in (document for document in local if document["kind"] == "Service"):
        [name] = service["spec"]["selector"].values()
        pod = template(workloads[name])
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items(), name
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports, name


def environment(container, local):
    """What a container's environment holds, from its own list and from the maps and secrets it names."""
    held = {entry["name"] for entry in container.get("env", [])}
    for source in container.get("envFrom", []):
        kind, reference = ("ConfigMap", source["configMapRef"]) if "configMapRef" in source else ("Secret", source["secretRef"])
        found = [document for document in local
                 if document["kind"] == kind and document["metadata"]["name"] == reference["name"]]
        assert found or reference.get("optional"), f"{container['name']}: {kind} {reference['name']} is not there"
        for document in found:
            held |= {*document.get("data", {}), *document.get("stringData", {})}
    return held


def test_every_setting_is_one_that_a_program_reads(local, pods):
    known = env_twins("pipeline", "cli", "stack", *SERVICES) | file_twins("pipeline", *SERVICES) | READ_BY_LIBRARIES
    for name in [*SERVICES, *JOBS, *CRON_JOBS, "toolbox", "s3"]:
        for container in containers(pods[name], init=False):
            assert environment(container, local) <= known, name


def test_accounts_are_one_a_workload(local, pods):
    accounts = {document["metadata"]["name"]: document for document in local if document["kind"] == "ServiceAccount"}
    assert {pod["serviceAccountName"] for pod in pods.values()} == set(accounts) == set(pods)
    assert not [document["kind"] for document in local if "Role" in document["kind"]], "nobody here asks the API server anything"
    for name, account in accounts.items():
        assert account["automountServiceAccountToken"] is False, name


def test_the_namespace_enforces_the_restricted_profile(local):
    [namespace] = [document for document in local if document["kind"] == "Namespace"]
    for mode in ("enforce", "audit", "warn"):
        assert namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"


def selects(policy, labels):
    return policy["spec"]["podSelector"].get("matchLabels", {}).items() <= labels.items()


def reachable(local, workloads):
    """{pod: servers that the policies let it reach}, from both sides: the client may go there, and the server lets it in."""
    policies = [document for document in local if document["kind"] == "NetworkPolicy"]
    labels = {name: template(workload)["metadata"]["labels"] for name, workload in workloads.items()}
    found = {name: set() for name in labels}
    for client, server in ((client, server) for client in labels for server in SERVERS):
        out = any(selects(peer_of(peer), labels[server]) for policy in policies if selects(policy, labels[client])
                  for rule in policy["spec"].get("egress", []) for peer in rule["to"] if is_pod(peer))
        let_in = any(selects(peer_of(peer), labels[client]) for policy in policies if selects(policy, labels[server])
                     for rule in policy["spec"].get("ingress", []) for peer in rule.get("from", []) if is_pod(peer))
        assert out == let_in, f"{client} -> {server}: only one side allows it"
        if out:
            found[client].add(server)
    return found


def is_pod(peer):
    return "podSelector" in peer and "namespaceSelector" not in peer


def peer_of(peer):
    return {"spec": peer}


def test_each_edge_is_one_that_its_settings_need(local, workloads, pods):
    """Who is given a server's address or credentials may reach it, and nobody else."""
    wanted = {name: set() for name in pods}
    for name, pod in pods.items():
        mounted = {volume["secret"]["secretName"].rsplit("-", 1)[0] for volume in pod.get("volumes", []) if "secret" in volume}
        for container in containers(pod, init=False):
            secrets = mounted | {source["secretRef"]["name"].rsplit("-", 1)[0] for source in container.get("envFrom", []) if "secretRef" in source}
            if any("database" in secret for secret in secrets):
                wanted[name].add("postgres")
            if "tickstream-s3" in secrets:
                wanted[name].add("s3")
    for name in ["producer", "consumer-lake", "consumer-db", "consumer-alerts", "dashboard", "topics", "toolbox", "audit", "b3", "kafka"]:
        wanted[name].add("kafka")
    # The store is given the keys that it takes, the database its first user's password.
    wanted["s3"], wanted["postgres"] = set(), set()
    assert reachable(local, workloads) == wanted


def test_nothing_is_allowed_by_default(local):
    policies = {document["metadata"]["name"]: document["spec"] for document in local if document["kind"] == "NetworkPolicy"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    anywhere = [name for name, spec in policies.items() for rule in spec.get("ingress", []) + spec.get("egress", [])
                if not rule.get("from") and not rule.get("to")]
    assert anywhere == ["dashboard"], "a rule without a peer is a rule for the whole world"


def test_only_the_owner_may_change_the_schema(pods):
    holders = {name for name, pod in pods.items() for container in containers(pod) for source in container.get("envFrom", [])
               if source.get("secretRef", {}).get("name", "").startswith("tickstream-database-owner")}
    assert holders == {"migrate", "retention"}
    [writer] = containers(pods["consumer-db"], init=False)
    assert {"name": "DB_NO_MIGRATE", "value": "true"} in writer["env"]


def test_live_sources_are_one_patch(local, workloads):
    patch = yaml.safe_load((ROOT / "k8s/overlays/local/live.yaml").read_text())
    [container] = template(patch)["spec"]["containers"]
    [theirs] = containers(template(workloads[patch["metadata"]["name"]])["spec"], init=False)
    assert container["name"] == theirs["name"]
    assert {entry["name"] for entry in container["env"]} <= {entry["name"] for entry in theirs["env"]}
    [internet] = [document for document in local if document["kind"] == "NetworkPolicy" and document["metadata"]["name"] == "internet"]
    assert selects(internet, template(patch)["metadata"]["labels"])
    assert not selects(internet, template(workloads["producer"])["metadata"]["labels"])


def test_no_secret_outside_secrets(local):
    for document in local:
        if document["kind"] != "Secret":
            assert "local-only" not in str(document), document["metadata"]["name"]


def test_the_base_holds_no_credentials():
    assert not [document for document in render("k8s/base") if document["kind"] == "Secret"]


def test_the_rules_are_the_built_in_ones():
    assert (ROOT / "k8s/base/rules.toml").read_text() == (ROOT / "consumer-alerts/rules/default.toml").read_text()


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_the_notifier_can_be_added(kubernetes):
    folder = ROOT / "k8s/components/notifier"
    documents = [document for path in folder.glob("notifier.yaml") for document in yaml.safe_load_all(path.read_text())]
    assert [document["kind"] for document in documents] == ["ServiceAccount", "Deployment"]
    for document in documents:
        kubernetes_validate.validate(document, kubernetes, strict=True)


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_tracing_can_be_added(kubernetes, tmp_path):
    parts = {name: os.path.relpath(ROOT / "k8s" / name, tmp_path) for name in ("overlays/local", "components/tracing")}
    text = f"namespace: tickstream\nresources: [{parts['overlays/local']}]\ncomponents: [{parts['components/tracing']}]\n"
    (tmp_path / "kustomization.yaml").write_text(text)
    documents = render(tmp_path)
    for document in documents:
        kubernetes_validate.validate(document, kubernetes, strict=True)
    settings = next(document["data"] for document in documents
                    if document["kind"] == "ConfigMap" and document["metadata"]["name"].startswith("tickstream-"))
    port = int(settings["OTEL_EXPORTER_OTLP_ENDPOINT"].rsplit(":", 1)[1])
    policy = next(document["spec"] for document in documents
                  if document["kind"] == "NetworkPolicy" and document["metadata"]["name"] == "traces")
    assert [rule["ports"] for rule in policy["egress"]] == [[{"protocol": "TCP", "port": port}]]
    reaching = {document["metadata"]["name"] for document in documents if document["kind"] == "Deployment"
                and policy["podSelector"]["matchLabels"].items() <= template(document)["metadata"]["labels"].items()}
    assert reaching == set(SERVICES) - {"refiner"}, "who makes spans, and nobody else"

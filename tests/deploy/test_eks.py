"""The overlays for EKS render, fit every schema strictly, other operators' objects included, and agree with the code and with each
other. No cluster has taken them: what an operator makes of them is not known by that."""

import json
import os
import re
import shutil
import subprocess

import jsonschema
import kubernetes_validate
import pytest
from conftest import READ_BY_LIBRARIES, ROOT, SERVICES, env_twins, file_twins, render
from schemas import strimzi_definitions, typescript_models

OVERLAYS = ["k8s/overlays/eks", "k8s/overlays/eks-msk"]
# Where an operator's objects are typed: apiVersion -> the folder in @kubernetes-models.
MODELS = {
    "keda.sh/v1alpha1": "keda/keda.sh/v1alpha1",
    "external-secrets.io/v1": "external-secrets/external-secrets.io/v1",
    "monitoring.coreos.com/v1": "prometheus-operator/monitoring.coreos.com/v1",
}
KUBERNETES = "1.34.0"


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request):
    return render(request.param)


@pytest.fixture(scope="module")
def both():
    return [each for folder in OVERLAYS for each in render(folder)]


@pytest.fixture(scope="module")
def with_more():
    """Renders an overlay that has more components: some before all others, some behind a named one."""
    made = []

    def rendered(overlay, before=(), behind=None):
        folder = ROOT / f"{overlay}-{os.getpid()}-{len(made)}"
        shutil.copytree(ROOT / overlay, folder)
        made.append(folder)
        file = folder / "kustomization.yaml"
        text = file.read_text().replace("components:\n", "components:\n" + "".join(f"  - ../../components/{each}\n" for each in before))
        for place, more in (behind or {}).items():
            line = f"  - ../../components/{place}\n"
            assert line in text
            text = text.replace(line, line + "".join(f"  - ../../components/{each}\n" for each in more))
        file.write_text(text)
        return render(folder.relative_to(ROOT))

    yield rendered
    for folder in made:
        shutil.rmtree(folder)


def of_kind(documents, *kinds):
    return {each["metadata"]["name"]: each for each in documents if each["kind"] in kinds}


def pods(documents):
    """Every pod that is asked for: those of workloads, and of what starts Jobs."""
    for each in documents:
        spec = each.get("spec", {})
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield each["metadata"]["name"], spec["template"]
        elif each["kind"] == "CronJob":
            yield each["metadata"]["name"], spec["jobTemplate"]["spec"]["template"]
        elif each["kind"] == "ScaledJob":
            yield each["metadata"]["name"], spec["jobTargetRef"]["template"]


def test_kubernetes_objects_fit_their_schemas(overlay):
    seen = 0
    for each in overlay:
        if each["apiVersion"] not in MODELS and each["apiVersion"] != "kafka.strimzi.io/v1":
            kubernetes_validate.validate(each, KUBERNETES, strict=True)
            seen += 1
    assert seen > 30


def checked_by_types(documents):
    """What the TypeScript compiler says of the objects as literals of their types: a name that is not known is an error there."""
    folder = typescript_models()
    imports, lines = [], []
    for number, each in enumerate(documents):
        imports.append(f'import type {{ I{each["kind"]} as T{number} }} from "@kubernetes-models/{MODELS[each["apiVersion"]]}/{each["kind"]}";')
        lines.append(f"export const o{number}: T{number} = {json.dumps(each)};")
    file = folder / f"objects-{os.getpid()}.ts"
    file.write_text("\n".join(imports + lines) + "\n")
    try:
        return subprocess.run(
            [folder / "node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", file.name],
            cwd=folder, capture_output=True, text=True)
    finally:
        file.unlink()


def test_operators_objects_fit_their_types(both):
    documents = [each for each in both if each["apiVersion"] in MODELS]
    assert {each["kind"] for each in documents} >= {"ScaledObject", "ScaledJob", "TriggerAuthentication", "SecretStore", "ExternalSecret",
                                                    "ServiceMonitor", "PrometheusRule"}
    result = checked_by_types(documents)
    assert result.returncode == 0, result.stdout


def test_a_wrong_name_in_them_is_seen(both):
    scaled = json.loads(json.dumps(of_kind(both, "ScaledObject")["consumer-lake"]))
    scaled["spec"]["maxReplicas"] = scaled["spec"].pop("maxReplicaCount")
    result = checked_by_types([scaled])
    assert result.returncode != 0 and "maxReplicas" in result.stdout


def closed(schema):
    """A definition's schema in which no further properties are allowed, as the API server prunes them."""
    if isinstance(schema, dict):
        schema = {key: closed(value) for key, value in schema.items()}
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
    elif isinstance(schema, list):
        schema = [closed(each) for each in schema]
    return schema


def test_strimzis_objects_fit_their_definitions():
    definitions = strimzi_definitions()
    if definitions is None:
        pytest.skip("Strimzi's classes need Java 21, which is not here")
    validators = {}
    for kind, definition in definitions.items():
        [version] = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
        schema = closed(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        validators[kind] = jsonschema.Draft202012Validator(schema)
    documents = [each for each in render(OVERLAYS[0]) if each["apiVersion"] == "kafka.strimzi.io/v1"]
    assert {each["kind"] for each in documents} == set(validators)
    for each in documents:
        errors = [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validators[each["kind"]].iter_errors(each)]
        assert not errors, f"{each['kind']} {each['metadata']['name']}: {errors}"
    wrong = {**documents[0], "spec": {**documents[0]["spec"], "replicaz": 3}}
    assert list(validators[wrong["kind"]].iter_errors(wrong)), "a name that is not known passes"


def declared():
    """The topics of pipeline/src/topics.rs, with the settings that cli/src/topics/plan.rs gives them."""
    text = (ROOT / "pipeline/src/topics.rs").read_text().split("#[cfg(test)]")[0]
    plan = (ROOT / "cli/src/topics/plan.rs").read_text()
    setting = {name: re.search(rf'const {name}: &str = "(\d+)"', plan).group(1) for name in ("LETTER_BYTES", "STATE_SEGMENT_MS")}
    name = dict(re.findall(r'^pub const (\w+): &str = "([^"]+)"', text, re.MULTILINE))
    day = 24 * 60 * 60 * 1000
    made = {}

    def add(topic, partitions, retention, cleanup="delete", **more):
        made[topic] = (partitions, {"cleanup.policy": cleanup, "message.timestamp.type": "LogAppendTime", "retention.ms": str(retention), **more})

    body = text[text.index("pub fn declared()"):]
    for topic, partitions, days in re.findall(r"\((\w+), (\d+), (\d+) \* DAY_MS, RecordType", body):
        add(name[topic], int(partitions), int(days) * day)
        letters = re.search(r"name: dlq\(name\), partitions: (\d+), retention_ms: (\d+) \* DAY_MS", body)
        add(f"{name[topic]}.dlq", int(letters[1]), int(letters[2]) * day, **{"max.message.bytes": setting["LETTER_BYTES"]})
    nothing = re.search(r"name: SOURCES.to_owned\(\), partitions: (\d+), retention_ms: DAY_MS", body)
    add(name["SOURCES"], int(nothing[1]), day)
    for topic in re.search(r"let states = \[([^\]]+)\]", body)[1].split(","):
        add(name[topic.strip()], 1, -1, "compact", **{"segment.ms": setting["STATE_SEGMENT_MS"]})
    count = int(re.search(r"assert_eq!\(declared.len\(\), (\d+)\)", (ROOT / "pipeline/src/topics.rs").read_text())[1])
    assert len(made) == count, "this test reads topics.rs wrongly"
    return made


def test_strimzis_topics_are_the_declared_ones():
    topics = of_kind(render(OVERLAYS[0]), "KafkaTopic")
    found = {each["spec"].get("topicName", name): (each["spec"]["partitions"], {key: str(value) for key, value in each["spec"]["config"].items()})
             for name, each in topics.items()}
    assert found == declared()


def test_what_users_may_do_is_the_same_on_both_brokers():
    strimzi = set()
    for user, each in of_kind(render(OVERLAYS[0]), "KafkaUser").items():
        for rule in each["spec"]["authorization"]["acls"]:
            resource = rule["resource"]
            pattern = "prefixed" if resource.get("patternType") == "prefix" else "literal"
            strimzi |= {(user, operation, resource["type"], pattern, resource.get("name", "kafka-cluster")) for operation in rule["operations"]}
    lines = (ROOT / "k8s/components/msk/acls.txt").read_text().splitlines()
    msk = [tuple(line.split()) for line in lines if not line.startswith("#")]
    assert len(msk) == len(set(msk)) and set(msk) == strimzi


def test_services_may_do_what_the_page_says_and_tests_security_tries():
    """docs/security.md leaves out what the broker takes as said: who may read or write may look, too."""
    page, kinds = set(), {"topic": "topic", "topics": "topic", "group": "group", "transactional id": "transactionalId"}
    for line in (ROOT / "docs/security.md").read_text().splitlines():
        match = re.fullmatch(r"\| `([a-z-]+)` \| (topics?|group|transactional id) \| (.*) \| (.*) \|", line)
        if match and match[1] != "operator":
            page |= {(match[1], operation, kinds[match[2]], name.removesuffix("*")) for name in re.findall(r"`([^`]+)`", match[3])
                     for operation in match[4].split(", ")}
    users = of_kind(render(OVERLAYS[0]), "KafkaUser")
    found = {(user, operation, rule["resource"]["type"], rule["resource"]["name"]) for user, each in users.items()
             if user not in ("operator", "keda") for rule in each["spec"]["authorization"]["acls"] for operation in rule["operations"]}
    implied = {each for each in found if each[1] == "Describe" and each[3] != "tickstream-unused"}
    unused = {each for each in found if each[3] == "tickstream-unused"}
    assert found - implied - unused == {each for each in page if each[3] != "tickstream-unused"}
    assert {each for each in page if each[3] == "tickstream-unused"} <= unused


def test_users_may_reach_topics_that_are_declared_and_no_service_all_of_them():
    topics = declared()
    for user, each in of_kind(render(OVERLAYS[0]), "KafkaUser").items():
        for rule in each["spec"]["authorization"]["acls"]:
            resource = rule["resource"]
            if resource["type"] == "topic" and resource["patternType"] == "literal":
                assert resource["name"] in topics, f"{user}: {resource['name']}"
            else:
                assert user in ("operator", "keda") or resource["type"] != "topic", f"{user}: {resource}"


def test_terraform_makes_a_secret_for_each_user():
    users = set(of_kind(render(OVERLAYS[0]), "KafkaUser"))
    text = (ROOT / "infra/terraform/platform/main.tf").read_text()
    assert set(re.findall(r'"([a-z-]+)"', re.search(r"users += \[([^\]]+)\]", text)[1])) == users


def test_who_talks_to_kafka_has_a_user_of_its_own(overlay):
    seen = 0
    for name, template in pods(overlay):
        if template["metadata"]["labels"].get("tickstream/kafka") != "client" or name == "kafka-acls":
            continue
        [container] = template["spec"]["containers"]
        properties = {entry["name"]: entry.get("value") for entry in container.get("env", [])}["KAFKA_PROPERTIES"]
        user = re.search(r"sasl\.username=([a-z-]+)", properties)[1]
        assert user == {"toolbox": "operator", "audit": "operator", "topics": "operator", "b3": "producer"}.get(name, name)
        assert properties.startswith("security.protocol=SASL_SSL,sasl.mechanisms=SCRAM-SHA-512,") and "sasl.password=" not in properties
        [volume] = [each for each in template["spec"]["volumes"] if each["name"] == "kafka"]
        assert volume["projected"]["sources"][0]["secret"]["name"] == f"kafka-{user}"
        seen += 1
    assert seen >= 8


@pytest.mark.parametrize("overlay, broker", [("k8s/overlays/eks", "strimzi"), ("k8s/overlays/eks-msk", "msk")])
def test_the_notifier_comes_as_itself(with_more, overlay, broker):
    documents = with_more(overlay, before=["notifier"], behind={broker: [f"notifier/{broker}"]})
    template = of_kind(documents, "Deployment")["notifier"]["spec"]["template"]
    assert template["metadata"]["labels"].items() >= {"tickstream/kafka": "client", "tickstream/internet": "client"}.items()
    [container] = template["spec"]["containers"]
    settings = {entry["name"]: entry["value"] for entry in container["env"]}
    of_others = {entry["name"]: entry.get("value") for entry in of_kind(documents, "Deployment")["consumer-db"]["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert settings["KAFKA_PROPERTIES"] == of_others["KAFKA_PROPERTIES"].replace("username=consumer-db", "username=notifier")
    [volume] = [each for each in template["spec"]["volumes"] if each["name"] == "kafka"]
    names = [source["secret"]["name"] for source in volume["projected"]["sources"]]
    assert names[0] == "kafka-notifier" and ("tickstream-cluster-ca-cert" in names) == (broker == "strimzi")
    assert not container["image"].startswith("tickstream/"), "the image is the registry's"
    for each in documents:
        if each["metadata"]["name"] == "notifier" and each["kind"] in ("Deployment", "ServiceAccount"):
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_all_come_to_msk_by_iam(with_more):
    documents = with_more("k8s/overlays/eks-msk", before=["notifier"], behind={"msk": ["notifier/msk", "msk-iam"]})
    seen = 0
    for name, template in pods(documents):
        if template["metadata"]["labels"].get("tickstream/kafka") != "client" or name == "kafka-acls":
            continue
        properties = {entry["name"]: entry.get("value") for entry in template["spec"]["containers"][0]["env"]}["KAFKA_PROPERTIES"]
        assert "sasl.mechanisms=OAUTHBEARER,sasl.oauthbearer.config=aws-msk-iam," in properties and "password" not in properties, name
        seen += 1
    assert seen >= 9
    assert ":9098" in of_kind_starting(documents, "ConfigMap", "tickstream")["data"]["KAFKA_BOOTSTRAP_SERVERS"]
    # Who comes by SCRAM does so where the brokers take it.
    [acls] = of_kind(documents, "Job")["kafka-acls"]["spec"]["template"]["spec"]["containers"]
    [servers] = [entry for entry in acls["env"] if entry["name"] == "KAFKA_BOOTSTRAP_SERVERS"]
    scalers = [trigger["metadata"]["bootstrapServers"] for each in of_kind(documents, "ScaledObject").values()
               for trigger in each["spec"]["triggers"] if trigger["type"] == "kafka"]
    assert "valueFrom" not in servers and len(scalers) >= 3
    for servers in (servers["value"], *scalers):
        assert {address.rsplit(":", 1)[1] for address in servers.split(",")} == {"9096"}, servers
    policies = of_kind(documents, "NetworkPolicy")
    assert {"protocol": "TCP", "port": 9098} in policies["kafka-clients"]["spec"]["egress"][0]["ports"]
    assert policies["kafka-identity"]["spec"]["egress"][0]["to"] == [{"ipBlock": {"cidr": "169.254.170.23/32"}}]
    assert "kafka-iam" not in of_kind(documents, "ConfigMap"), "the map of values is not for the cluster"


def of_kind_starting(documents, kind, name):
    [found] = [each for each in documents if each["kind"] == kind and re.fullmatch(rf"{name}-[a-z0-9]{{10}}", each["metadata"]["name"])]
    return found


def test_pods_are_confined(overlay):
    for name, template in pods(overlay):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert pod["automountServiceAccountToken"] is False and pod["serviceAccountName"] != "default", name
        for container in pod.get("initContainers", []) + pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], name
            assert security["capabilities"]["drop"] == ["ALL"], name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys() and "memory" in container["resources"]["limits"], name


def test_nothing_of_the_laptop_is_left_and_no_value_is_missing(overlay):
    text = json.dumps([each for each in overlay if each["kind"] not in ("PrometheusRule",)])
    for place in ("VPC_CIDR", "DASHBOARD_HOST", "CERTIFICATE_ARN", "AmazonMSK/", '"BRONZE_QUEUE"', "OWNER_SECRET", "local-only", "kafka:9092"):
        assert place not in text, place
    for name, template in pods(overlay):
        for container in template["spec"].get("initContainers", []) + template["spec"]["containers"]:
            image = container["image"]
            assert ":" in image and not image.startswith("tickstream/"), f"{name}: {image}"
    assert "cluster" not in of_kind(overlay, "ConfigMap"), "the map of values is not for the cluster"


def test_names_that_pods_use_are_there(overlay):
    """ConfigMaps and Secrets that pods name are in the overlay, made by an operator of it, or by hand as infra/README.md says."""
    by_hand = {"rds-certificates"}
    maps = set(of_kind(overlay, "ConfigMap")) | by_hand
    secrets = set(of_kind(overlay, "Secret")) | {each["spec"]["target"]["name"] for each in of_kind(overlay, "ExternalSecret").values()}
    if of_kind(overlay, "Kafka"):
        secrets |= {f"kafka-{user}" for user in of_kind(overlay, "KafkaUser")} | {"tickstream-cluster-ca-cert"}
    readme = (ROOT / "infra/README.md").read_text()
    assert all(name in readme for name in by_hand)
    for name, template in pods(overlay):
        text = json.dumps(template)
        for kind, known in (("configMap", maps), ("secret", secrets)):
            for match in re.finditer(rf'"{kind}(?:Ref|KeyRef)?": (\{{[^{{}}]*\}})', text):
                reference = json.loads(match[1])
                used = reference.get("name") or reference.get("secretName")
                assert used in known or reference.get("optional"), f"{name}: {kind} {used}"
    for each in of_kind(overlay, "TriggerAuthentication").values():
        assert {reference["name"] for reference in each["spec"]["secretTargetRef"]} <= secrets


def test_every_setting_is_one_that_a_program_reads(overlay):
    known = env_twins("pipeline", "cli", *SERVICES) | file_twins("pipeline", *SERVICES) | READ_BY_LIBRARIES
    for name, template in pods(overlay):
        for container in template["spec"]["containers"]:
            if "/tickstream-" in container["image"]:
                assert {entry["name"] for entry in container.get("env", [])} <= known, name


def test_scalers_scale_what_is_there_by_groups_that_are_read(overlay):
    deployments, topics = of_kind(overlay, "Deployment"), declared()
    scaled = of_kind(overlay, "ScaledObject")
    assert set(scaled) == {"consumer-lake", "consumer-db", "consumer-alerts"}
    for name, each in scaled.items():
        assert each["spec"]["scaleTargetRef"]["name"] in deployments and "replicas" not in deployments[name]["spec"], name
        [trigger] = each["spec"]["triggers"]
        assert trigger["metadata"]["consumerGroup"] == name and trigger["metadata"]["bootstrapServers"] != "KAFKA_BOOTSTRAP"
        assert each["spec"]["maxReplicaCount"] <= topics[trigger["metadata"]["topic"]][0], f"{name}: more than there are partitions"


def test_services_are_spread_and_nodes_can_be_emptied(overlay):
    deployments, budgets = of_kind(overlay, "Deployment"), of_kind(overlay, "PodDisruptionBudget")
    assert set(SERVICES) <= set(budgets)
    for name, each in deployments.items():
        constraints = each["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in constraints} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}, name
    for name, budget in budgets.items():
        assert budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] in deployments and budget["spec"]["maxUnavailable"] == 1


def test_each_way_out_is_named(overlay):
    """Every label by which a pod says whom it may reach has an edge, and no edge is open to every port."""
    policies = of_kind(overlay, "NetworkPolicy").values()
    selected = {key for each in policies for key in each["spec"]["podSelector"].get("matchLabels", {})}
    used = {label for _, template in pods(overlay) for label in template["metadata"]["labels"] if label.startswith("tickstream/")}
    assert used <= selected, used - selected
    for each in policies:
        for edge in each["spec"].get("egress", []) + each["spec"].get("ingress", []):
            assert edge.get("ports"), each["metadata"]["name"]
            for peer in edge.get("to", []):
                block = peer.get("ipBlock", {})
                assert block.get("cidr") != "0.0.0.0/0" or "169.254.0.0/16" in block["except"], each["metadata"]["name"]


def test_the_page_is_behind_tls_and_asked_whether_it_is_ready(overlay):
    ingress = of_kind(overlay, "Ingress")["dashboard"]
    notes = {key.removeprefix("alb.ingress.kubernetes.io/"): value for key, value in ingress["metadata"]["annotations"].items()}
    assert json.loads(notes["listen-ports"]) == [{"HTTPS": 443}] and notes["certificate-arn"].startswith("arn:aws:acm:")
    assert notes["healthcheck-path"] == "/readyz" and notes["inbound-cidrs"] and ingress["spec"]["ingressClassName"] == "alb"


def test_monitoring_reads_every_service(overlay):
    labelled = {name for name, template in pods(overlay) if template["metadata"]["labels"].get("tickstream/metrics") == "admin"}
    assert labelled == set(SERVICES)
    dashboards = of_kind(overlay, "ConfigMap")["grafana-dashboards"]["data"]
    assert set(dashboards) == {path.name for path in (ROOT / "k8s/components/monitoring/dashboards").glob("*.json")}


def test_the_overlay_script_is_a_shell_script():
    script = ROOT / "infra/overlay.sh"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_the_overlay_script_writes_what_terraform_says(tmp_path):
    fake = tmp_path / "terraform"
    fake.write_text("""#!/bin/sh
case "$*" in
    *"output -raw kafka") printf strimzi ;;
    *"output -json overlay") echo '{"B": "2", "A": "one,two"}' ;;
    *) exit 1 ;;
esac
""")
    fake.chmod(0o755)
    copy = tmp_path / "project"
    shutil.copytree(ROOT / "infra", copy / "infra", ignore=shutil.ignore_patterns(".terraform*"))
    (copy / "k8s/overlays/eks/cluster").mkdir(parents=True)
    subprocess.run([copy / "infra/overlay.sh", "dev"], check=True, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    lines = (copy / "k8s/overlays/eks/cluster/cluster.env").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["A=one,two", "B=2"]

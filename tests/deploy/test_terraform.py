"""infra/terraform is formatted, valid by the provider's schema, and makes what the lake and its readers rest on. Terraform itself
validates it, and applies both environments to a provider that mocks AWS: what AWS would say is not known by that."""

import json
import os
import re
import shutil
import subprocess

import pytest
from aws_schema import Provider, read
from conftest import ROOT, render
from schemas import npm_archive

TERRAFORM = ROOT / "infra/terraform"
BINDINGS = ("@cdktf/provider-aws", "21.22.1")
TEXT = {path: path.read_text() for path in TERRAFORM.rglob("*.tf")}
pytestmark = pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not installed")

MOCK = """
mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["us-east-1a", "us-east-1b", "us-east-1c"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_region" {
    defaults = { region = "us-east-1" }
  }
  mock_resource "aws_db_instance" {
    defaults = {
      master_user_secret = [{
        kms_key_id    = "arn:aws:kms:us-east-1:111122223333:key/0"
        secret_arn    = "arn:aws:secretsmanager:us-east-1:111122223333:secret:rds!db-0"
        secret_status = "active"
      }]
    }
  }
}
run "all" {
  command = apply
}
"""


def terraform(folder, *command, environment=None):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    environment = {**clean, "TF_CLI_CONFIG_FILE": "/dev/null", "CHECKPOINT_DISABLE": "1", **(environment or {})}
    return subprocess.run(["terraform", *command], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def provider():
    whole = "\n".join(TEXT.values())
    resources = set(re.findall(r'^resource "(\w+)"', whole, re.MULTILINE))
    data = set(re.findall(r'^data "(\w+)"', whole, re.MULTILINE))
    schemas = read(npm_archive(*BINDINGS), resources, data)
    assert set(schemas["resource"]) == resources and set(schemas["data"]) == data
    with Provider(schemas) as serving:
        yield serving


def copied(to):
    shutil.copytree(TERRAFORM, to / "infra/terraform", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    shutil.copytree(ROOT / "lake/athena", to / "lake/athena")
    shutil.copytree(ROOT / "k8s/components/msk", to / "k8s/components/msk")
    return to / "infra/terraform"


def test_is_formatted():
    result = terraform(TERRAFORM, "fmt", "-check", "-recursive", "-diff")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("folder", ["bootstrap", "envs/dev", "envs/prod"])
def test_is_valid(folder, provider, tmp_path):
    root = copied(tmp_path) / folder
    for command in (["init", "-backend=false", "-input=false", "-no-color"], ["validate", "-no-color"]):
        result = terraform(root, *command, environment=provider.environment())
        assert result.returncode == 0, result.stdout + result.stderr


def test_a_mistake_is_seen(provider, tmp_path):
    root = copied(tmp_path)
    file = root / "modules/lake/main.tf"
    text = file.read_text()
    wrong = text.replace("bucket_key_enabled", "bucket_key_on").replace("days          = var.raw_cold_days", 'days = "soon"')
    file.write_text(wrong.replace("aws_s3_bucket.lake.arn", "aws_s3_bucket.lake.arm", 1))
    terraform(root / "envs/dev", "init", "-backend=false", "-input=false", environment=provider.environment())
    said = terraform(root / "envs/dev", "validate", "-no-color", environment=provider.environment()).stdout
    said += terraform(root / "envs/dev", "validate", "-no-color", environment=provider.environment()).stderr
    for word in ("bucket_key_on", "a number is required", '"arm"'):
        assert word in said


@pytest.fixture(scope="module", params=["dev", "prod"])
def made(request, provider, tmp_path_factory):
    """Everything that an environment makes, by address. Terraform's mocks know no ephemeral value and no protection from deletion:
    passwords are a word here, and the guard is left out."""
    root = copied(tmp_path_factory.mktemp(request.param))
    for path in root.rglob("*.tf"):
        text = re.sub(r"^ephemeral .*?^}\n", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"ephemeral\.\S+\.random_password", '"a-password"', text).replace("prevent_destroy = true", "")
        path.write_text(text)
    folder = root / "envs" / request.param
    shutil.copy(folder / "terraform.tfvars.example", folder / "terraform.tfvars")
    (folder / "all.tftest.hcl").write_text(MOCK)
    init = terraform(folder, "init", "-backend=false", "-input=false", environment=provider.environment())
    assert init.returncode == 0, init.stderr
    result = terraform(folder, "test", "-json", "-verbose", environment=provider.environment())
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    errors = [line["diagnostic"] for line in lines if line.get("diagnostic", {}).get("severity") == "error"]
    said = "\n".join(f"{error.get('range', {}).get('filename')}: {error['summary']}: {error['detail']}" for error in errors)
    assert not errors and result.returncode == 0, said or result.stdout[-2000:]
    [state] = [line["test_state"] for line in lines if line.get("type") == "test_state"]
    outputs = {name: output["value"] for name, output in state["outputs"].items()}
    found = {"environment": request.param, "outputs": outputs, "resources": {}}

    def walk(module):
        for resource in module.get("resources", []):
            found["resources"][resource["address"]] = resource
        for child in module.get("child_modules", []):
            walk(child)

    walk(state["root_module"])
    return found


def of_type(made, kind):
    return {address: each["values"] for address, each in made["resources"].items() if each["type"] == kind and each["mode"] == "managed"}


def test_glue_has_the_tables_of_athena(made):
    tables = {table["name"]: table for table in of_type(made, "aws_glue_catalog_table").values()}
    files = {path.stem: path.read_text() for path in (ROOT / "lake/athena").glob("*.sql")}
    assert set(tables) == set(files) and len(files) > 10
    for name, text in files.items():
        table = tables[name]
        body, partitions = text.split("PARTITIONED BY (")
        columns = [(c["name"], c["type"]) for c in table["storage_descriptor"][0]["columns"]]
        assert columns == re.findall(r"^  `(\w+)` (.+?),?$", body, re.MULTILINE), name
        assert [(c["name"], c["type"]) for c in table["partition_keys"]] == re.findall(r"`(\w+)` (\w+)", partitions.splitlines()[0]), name
        assert table["storage_descriptor"][0]["location"].startswith("s3://my-company-tickstream-"), name
        assert table["parameters"]["projection.enabled"] == "true", name
        template = table["parameters"]["storage.location.template"]
        assert template.startswith(table["storage_descriptor"][0]["location"]) and "${bucket}" not in template
        assert re.findall(r"\$\{(\w+)\}", template) == [c["name"] for c in table["partition_keys"]], name


def test_raw_is_kept_for_ever(made):
    [versioning] = of_type(made, "aws_s3_bucket_versioning").values()
    assert versioning["versioning_configuration"][0]["status"] == "Enabled"
    rules = next(each for address, each in of_type(made, "aws_s3_bucket_lifecycle_configuration").items() if ".lake." in address)["rule"]
    for rule in rules:
        prefix = (rule.get("filter") or [{}])[0].get("prefix") or ""
        if "raw/".startswith(prefix) or prefix.startswith("raw"):
            assert not rule["expiration"] and not rule["noncurrent_version_expiration"], rule
    [raw] = [rule for rule in rules if rule["filter"][0].get("prefix") == "raw/"]
    assert [step["storage_class"] for step in raw["transition"]] == ["GLACIER_IR"], "read at once, whatever its age"


def test_buckets_are_closed_and_encrypted(made):
    buckets = of_type(made, "aws_s3_bucket")
    blocks = of_type(made, "aws_s3_bucket_public_access_block")
    assert len(blocks) == len(buckets) == len(of_type(made, "aws_s3_bucket_server_side_encryption_configuration")) > 1
    for block in blocks.values():
        assert all(block[name] for name in ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"))


def statements(made):
    for kind in ("aws_iam_role_policy", "aws_s3_bucket_policy", "aws_sqs_queue_policy", "aws_sns_topic_policy"):
        for address, each in of_type(made, kind).items():
            for statement in json.loads(each["policy"])["Statement"]:
                yield address, statement


def listed(value):
    return value if isinstance(value, list) else [value]


# Calls that AWS knows no resource for.
WITHOUT_RESOURCE = re.compile(r"ecr:GetAuthorizationToken|(ec2|elasticloadbalancing|acm):(Describe|Get|List)\w+")


def test_no_right_is_for_all(made):
    seen = 0
    for address, statement in statements(made):
        if statement["Effect"] == "Deny":
            continue
        seen += 1
        actions = listed(statement["Action"])
        assert not [action for action in actions if "*" in action], f"{address}: {actions}"
        assert statement.get("Principal") != "*", address
        if "*" in listed(statement.get("Resource")):
            assert all(WITHOUT_RESOURCE.fullmatch(action) for action in actions), f"{address}: {actions}"
        assert statement.get("Condition", True), f"{address}: an empty condition"
    assert seen > 15


def rights(made, service):
    """(action, prefix of keys) that a service has in the lake."""
    policy = of_type(made, "aws_iam_role_policy")[f'module.platform.module.iam.aws_iam_role_policy.service["{service}"]']["policy"]
    return {(action, resource.split("/", 1)[1].rstrip("*")) for statement in json.loads(policy)["Statement"]
            for action in statement["Action"] for resource in statement["Resource"]
            if action.endswith("Object") and "/" in resource}


def test_services_may_do_what_their_code_does(made):
    put, get, delete = "s3:PutObject", "s3:GetObject", "s3:DeleteObject"
    assert rights(made, "consumer-lake") == {(right, prefix) for right in (put, get) for prefix in ("raw/", "bronze/", "_probe/")}
    assert rights(made, "refiner") == rights(made, "refiner-once") == {
        (get, "raw/"), (get, "bronze/"), (get, "silver/"), (put, "silver/"), (get, "gold/"), (put, "gold/"), (delete, "bronze/_notes/")}
    assert rights(made, "dashboard") == {(get, "gold/forecasts/")}
    assert {right for right, _ in rights(made, "audit")} == {get}
    for service in ("consumer-lake", "refiner", "refiner-once", "refiner-events", "dashboard", "audit", "toolbox"):
        assert not [prefix for right, prefix in rights(made, service) if right == delete and "raw/".startswith(prefix.split("/")[0])]


def kafka_rights(made, account):
    """(action, the name that it is on) at MSK."""
    policy = of_type(made, "aws_iam_role_policy")[f'module.platform.module.iam.aws_iam_role_policy.kafka["{account}"]']["policy"]
    return {(action, resource.split("/")[-1]) for statement in json.loads(policy)["Statement"]
            for action in statement["Action"] for resource in statement["Resource"]}


def test_by_iam_a_service_may_do_at_kafka_what_the_acls_say(made):
    if made["environment"] != "prod":
        assert not [address for address in of_type(made, "aws_iam_role_policy") if ".kafka[" in address]
        pytest.skip("of prod alone")
    users = {"b3": "producer", "toolbox": "operator", "topics": "operator", "audit": "operator"}
    lines = [line.split() for line in (ROOT / "k8s/components/msk/acls.txt").read_text().splitlines() if not line.startswith("#")]
    for account in ["producer", "consumer-lake", "consumer-db", "consumer-alerts", "notifier", "dashboard", *users]:
        found = kafka_rights(made, account)
        for kind, read, write in (("topic", "ReadData", "WriteData"), ("group", "AlterGroup", None), ("transactionalId", None, "AlterTransactionalId")):
            for operation, action in (("Read", read), ("Write", write)):
                expected = {name + ("*" if pattern == "prefixed" else "") for user, told, of, pattern, name in lines
                            if (user, told, of) == (users.get(account, account), operation, kind)}
                assert {name for right, name in found if right == f"kafka-cluster:{action}"} == expected, f"{account}: {operation} {kind}"
        assert {right for right, _ in found} >= {"kafka-cluster:Connect"}
    associated = {each["service_account"] for each in of_type(made, "aws_eks_pod_identity_association").values()}
    assert {"producer", "b3", "consumer-db", "consumer-alerts", "notifier", "topics"} <= associated


def test_the_bucket_itself_keeps_raw(made):
    [policy] = [each["policy"] for address, each in of_type(made, "aws_s3_bucket_policy").items() if ".lake.aws_s3_bucket_policy.lake" in address]
    denied = {statement["Sid"]: statement for statement in json.loads(policy)["Statement"]}
    assert all(statement["Effect"] == "Deny" and statement["Principal"] == "*" for statement in denied.values())
    assert {"s3:DeleteObject", "s3:DeleteObjectVersion"} <= set(denied["RawStays"]["Action"])
    assert denied["RawIsCreateOnly"]["Condition"] == {"Null": {"s3:if-none-match": "true"}}


def test_nothing_is_open_to_the_world(made):
    # What is not said is a random word in the mock, so the text is looked at.
    rules = [body for text in TEXT.values() for body in
             re.findall(r'^resource "aws_vpc_security_group_ingress_rule" .*?^}', text, re.MULTILINE | re.DOTALL)]
    assert len(rules) >= 3 and all("referenced_security_group_id" in rule and "cidr" not in rule for rule in rules)
    for instance in of_type(made, "aws_db_instance").values():
        assert instance["storage_encrypted"] and not instance["publicly_accessible"] and instance["manage_master_user_password"]
    for template in of_type(made, "aws_launch_template").values():
        assert template["metadata_options"][0]["http_tokens"] == "required"
    for key in of_type(made, "aws_kms_key").values():
        assert key["enable_key_rotation"]


def test_prod_stands_the_loss_of_a_zone_and_of_a_hand(made):
    if made["environment"] != "prod":
        pytest.skip("of prod alone")
    [database] = of_type(made, "aws_db_instance").values()
    assert database["multi_az"] and database["deletion_protection"] and not database["skip_final_snapshot"]
    [kafka] = of_type(made, "aws_msk_cluster").values()
    assert kafka["number_of_broker_nodes"] == 3
    assert len(of_type(made, "aws_nat_gateway")) == 3 and of_type(made, "aws_backup_plan")
    [properties] = [each["server_properties"] for each in of_type(made, "aws_msk_configuration").values()]
    assert "min.insync.replicas=2" in properties and "auto.create.topics.enable=false" in properties


def test_pods_get_the_roles_that_are_theirs(made):
    """Each service account that a role is associated with is in the overlay, or belongs to an operator or a component."""
    overlay = "k8s/overlays/eks" if made["environment"] == "dev" else "k8s/overlays/eks-msk"
    accounts = {each["metadata"]["name"] for each in render(overlay) if each["kind"] == "ServiceAccount"}
    associated = {each["service_account"] for each in of_type(made, "aws_eks_pod_identity_association").values()
                  if each["namespace"] == "tickstream"}
    assert associated - accounts <= {"refiner-events", "notifier"}, associated - accounts


def test_the_overlay_is_told_all_that_it_asks(made):
    overlay = "eks" if made["environment"] == "dev" else "eks-msk"
    lines = (ROOT / f"k8s/overlays/{overlay}/cluster/cluster.env").read_text().splitlines()
    names = {line.split("=")[0] for line in lines if line and not line.startswith("#")}
    assert names == set(made["outputs"]["overlay"]), "infra/overlay.sh writes the file anew from Terraform's output"


def test_alarms_name_queues_and_databases_that_are_there(made):
    queues = {each["name"] for each in of_type(made, "aws_sqs_queue").values()}
    databases = {each["identifier"] for each in of_type(made, "aws_db_instance").values()}
    alarms = of_type(made, "aws_cloudwatch_metric_alarm")
    assert len(alarms) >= 3
    for address, alarm in alarms.items():
        known = {"AWS/SQS": ("QueueName", queues), "AWS/RDS": ("DBInstanceIdentifier", databases)}.get(alarm["namespace"])
        assert not known or alarm["dimensions"][known[0]] in known[1], address


def test_saved_queries_ask_tables_that_are_there(made):
    tables = {table["name"]: {c["name"] for c in table["storage_descriptor"][0]["columns"] + table["partition_keys"]}
              for table in of_type(made, "aws_glue_catalog_table").values()}
    queries = of_type(made, "aws_athena_named_query")
    assert len(queries) >= 5
    for query in queries.values():
        for table in re.findall(r"FROM (\w+)", query["query"]):
            assert table in tables, query["name"]


def test_every_variable_is_used_and_explained():
    for folder in {path.parent for path in TEXT}:
        whole = "\n".join(text for path, text in TEXT.items() if path.parent == folder)
        for name, body in re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', whole, re.MULTILINE | re.DOTALL):
            assert "description" in body, f"{folder.name}: {name}"
            assert re.search(rf"\bvar\.{name}\b", re.sub(r"validation \{.*?\n  \}", "", whole, flags=re.DOTALL)), f"{folder}: {name}"

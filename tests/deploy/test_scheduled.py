"""The CronJob of docs/scheduled.md fits the API's schemas, and starts what there is."""

import re

import kubernetes_validate
import pytest
import yaml
from conftest import ROOT
from test_k8s import KUBERNETES, READ_BY_LIBRARIES, env_twins


@pytest.fixture(scope="module")
def documents():
    [block] = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/scheduled.md").read_text(), re.MULTILINE | re.DOTALL)
    return {document["kind"]: document for document in yaml.safe_load_all(block)}


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_fits_the_schemas(documents, kubernetes):
    assert set(documents) == {"CronJob", "PersistentVolumeClaim"}
    for document in documents.values():
        kubernetes_validate.validate(document, kubernetes, strict=True)


def test_starts_what_there_is(documents, version):
    pod = documents["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    targets = re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    known = env_twins("pipeline", "producer", "consumer-db") | READ_BY_LIBRARIES
    for container in pod["initContainers"] + pod["containers"]:
        image, _, tag = container["image"].removeprefix("tickstream/").partition(":")
        assert image in targets and tag == version
        assert {entry["name"] for entry in container["env"]} <= known, container["name"]
    [claim] = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]]
    assert claim == documents["PersistentVolumeClaim"]["metadata"]["name"]

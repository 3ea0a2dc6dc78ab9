"""What the deployment tests look at: the rendered manifests, the resolved compose file, the names the programs read."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICES = ["producer", "consumer-lake", "refiner", "consumer-db", "consumer-alerts", "dashboard"]
# What the programs read from the environment without a flag of their own: the AWS SDK does.
READ_BY_LIBRARIES = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}
WORKLOADS = {"Deployment", "StatefulSet", "Job", "CronJob"}


def run(command, **kwargs):
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **kwargs)
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stderr}"
    return result.stdout


def render(folder):
    kubectl = pathlib.Path(sys.executable).parent / "kubectl"
    return [document for document in yaml.safe_load_all(run([kubectl, "kustomize", folder])) if document]


@pytest.fixture(scope="session")
def version():
    return re.search(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)


@pytest.fixture(scope="session")
def local():
    """Every object of the local overlay."""
    return render("k8s/overlays/local")


@pytest.fixture(scope="session")
def workloads(local):
    return {document["metadata"]["name"]: document for document in local if document["kind"] in WORKLOADS}


@pytest.fixture(scope="session")
def pods(workloads):
    return {name: template(workload)["spec"] for name, workload in workloads.items()}


def template(workload):
    """The pod that a workload makes."""
    spec = workload["spec"]["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else workload["spec"]
    return spec["template"]


def compose_command():
    plugin = shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
    if plugin:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.fail("neither `docker compose` nor `docker-compose` is here: install Debian's docker-compose")


@pytest.fixture(scope="session")
def compose(tmp_path_factory):
    """docker-compose.yaml as compose itself resolves it, without this machine's own .env and environment."""
    empty = tmp_path_factory.mktemp("compose") / "empty.env"
    empty.touch()
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return yaml.safe_load(run([*compose_command(), "--env-file", empty, "-f", "docker-compose.yaml", "config"], env=clean))


def env_twins(*folders):
    """Every `env = "NAME"` of the command lines in these folders."""
    sources = [path for folder in folders for path in (ROOT / folder / "src").rglob("*.rs")]
    return {name for path in sources for name in re.findall(r'\benv\s*=\s*"([A-Z0-9_]+)"', path.read_text())}


def file_twins(*folders):
    """Where a secret's value may be read from: NAME_FILE of every variable that --help does not show the value of."""
    attributes = [attribute for folder in folders for path in (ROOT / folder / "src").rglob("*.rs")
                  for attribute in re.findall(r"#\[arg\((.*?)\)\]", path.read_text(), re.DOTALL)]
    return {f"{name}_FILE" for attribute in attributes if "hide_env_values" in attribute
            for name in re.findall(r'\benv\s*=\s*"([A-Z0-9_]+)"', attribute)}

"""What the manifests and the Terraform files are checked against and is not part of this project: schemas that registries hold, fetched
once by the registries' own clients, pinned, and kept below the target folder."""

import base64
import hashlib
import os
import pathlib
import shutil
import subprocess

from conftest import ROOT

CACHE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "deploy-schemas"
# Each archive's SHA-512, as the registry's own lock files write it.
ARCHIVES = {
    ("@cdktf/provider-aws", "21.22.1"):
        "sha512-BuSHeaQFUL9l33pBzIMRT7cTQ69AM2mLtijjteCPhVQRmvuhuj9Lvfymf7knAMhYqAT6+Lrls9jiGVW/Us3zrQ==",
}


def npm_archive(name, version):
    """A package's archive, without what it depends on."""
    file = CACHE / f"{name.strip('@').replace('/', '-')}-{version}.tgz"
    wanted = ARCHIVES[name, version]
    if not file.exists() or integrity(file) != wanted:
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=CACHE, check=True, stdout=subprocess.DEVNULL)
        assert integrity(file) == wanted, f"{file} is not what it was"
    return file


def integrity(file):
    return "sha512-" + base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()


def typescript_models():
    """The folder whose node_modules has the types of KEDA's, External Secrets' and the Prometheus operator's objects."""
    folder, here = CACHE / "models", ROOT / "tests/deploy/schemas_npm"
    lock = (here / "package-lock.json").read_text()
    if not (folder / "installed").exists() or (folder / "installed").read_text() != lock:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(here, folder)
        subprocess.run(["npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True)
        (folder / "installed").write_text(lock)
    return folder


STRIMZI = "1.2.0"
STRIMZI_KINDS = {"Kafka": "kafka.Kafka", "KafkaNodePool": "nodepool.KafkaNodePool", "KafkaTopic": "topic.KafkaTopic",
                 "KafkaUser": "user.KafkaUser"}
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tickstream</groupId><artifactId>schemas</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>io.strimzi</groupId><artifactId>api</artifactId><version>{STRIMZI}</version></dependency>
    <dependency><groupId>io.strimzi</groupId><artifactId>crd-generator</artifactId><version>{STRIMZI}</version></dependency>
  </dependencies>
</project>
"""


def java_21():
    """A Java runtime that Strimzi's classes run on, or None."""
    home = os.environ.get("JAVA_HOME")
    candidates = [pathlib.Path(home) / "bin/java"] if home else []
    candidates += [pathlib.Path(found)] if (found := shutil.which("java")) else []
    candidates += sorted(pathlib.Path("/usr/lib/jvm").glob("*/bin/java"))
    for java in candidates:
        said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr if java.exists() else ""
        version = said.split('"')[1] if '"' in said else "0"
        if int(version.split(".")[0].split("-")[0]) >= 21:
            return java
    return None


def strimzi_definitions():
    """Strimzi's custom resource definitions by kind, made by its own generator of its own classes; None without a Java 21."""
    import yaml
    folder = CACHE / f"strimzi-{STRIMZI}"
    files = {kind: folder / f"{kind}.yaml" for kind in STRIMZI_KINDS}
    if not all(file.exists() for file in files.values()):
        java = java_21()
        if java is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pom.xml").write_text(POM)
        subprocess.run(["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}/lib"],
                       cwd=folder, check=True, stdin=subprocess.DEVNULL)
        made = folder / "made"
        made.mkdir(exist_ok=True)
        classes = [f"io.strimzi.api.kafka.model.{name}={made}/{kind}.yaml" for kind, name in STRIMZI_KINDS.items()]
        subprocess.run([java, "-cp", f"{folder}/lib/*", "io.strimzi.crdgenerator.CrdGenerator", "--yaml", *classes], check=True)
        for kind, file in files.items():
            (made / f"{kind}.yaml").rename(file)
    return {kind: yaml.safe_load(file.read_text()) for kind, file in files.items()}

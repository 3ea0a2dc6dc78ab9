"""Makes the images that the local overlay names without an image to start from: each is the program that was built here, and of
this machine's own files what it needs. All of them go into one archive, as `docker save` writes it, which every cluster's own
command takes (`kind load image-archive`, `minikube image load`, `k3d image import`, `docker load`). They stand in for the
Dockerfile's images where nothing can be pulled; what is tested with them is the manifests and the programs, not the Dockerfile.

    images.py ARCHIVE [--binaries FOLDER]
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VERSION = re.search(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
# What a person in the toolbox, a waiting container or an entry point calls.
TOOLS = ["bash", "sh", "basename", "cat", "cp", "cut", "date", "df", "du", "env", "false", "find", "grep", "head", "id", "ls", "mkdir", "mv",
         "printenv", "rm", "sed", "seq", "sleep", "sort", "tail", "test", "timeout", "touch", "tr", "true", "uniq", "wc", "xargs"]
PASSWD = """root:x:0:0:root:/root:/usr/sbin/nologin
postgres:x:999:999:postgres:/tmp:/bin/bash
kafka:x:1000:1000:kafka:/tmp:/bin/bash
tickstream:x:10001:10001:tickstream:/nonexistent:/usr/sbin/nologin
"""
GROUP = "root:x:0:\npostgres:x:999:\nkafka:x:1000:\ntickstream:x:10001:\n"
SERVICES = {"producer": "producer", "consumer-lake": "consumer-lake", "refiner": "refiner", "consumer-db": "consumer-db",
            "consumer-alerts": "consumer-alerts", "dashboard": "dashboard", "cli": "tickstream", "s3": "stack"}
# Programs that stand beside the image's own, as in the Dockerfile.
BESIDE = {"cli": ["refiner"]}
ENTRY = {"s3": ["stack", "s3", "--listen", "0.0.0.0:9000", "--data", "/data"]}
COMMAND = {"refiner": ["run"], "consumer-alerts": ["run"]}


def libraries(program):
    """The shared libraries that a program needs, and its loader, where they lie."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    missing = [line.strip() for line in said.splitlines() if "not found" in line]
    if missing:
        sys.exit(f"{program}: {missing}")
    return re.findall(r"(/\S+) \(0x", said)


class Layer:
    """A tar of files, the same bytes for the same files."""

    def __init__(self, below=()):
        self.files = {}
        self.below = [name for layer in below for name in layer.files]

    def add(self, where, source, mode=None):
        """One file (or a folder with all that is in it) of this machine; a link is followed."""
        source = pathlib.Path(source)
        if source.is_dir():
            for path in sorted(source.rglob("*")):
                if path.is_file():
                    self.add(f"{where}/{path.relative_to(source)}", path)
            return
        self.files[where.lstrip("/")] = (source.read_bytes(), mode or source.stat().st_mode & 0o777)

    def text(self, where, text, mode=0o644):
        self.files[where.lstrip("/")] = (text.encode(), mode)

    def folder(self, where, owner=0, mode=0o755):
        self.files[where.strip("/") + "/"] = (owner, mode)

    def program(self, where, source):
        """An executable with the libraries that it needs, unless a layer below has them."""
        self.add(where, source, 0o755)
        self.needs(source)

    def needs(self, source):
        for library in libraries(source):
            if library.lstrip("/") not in self.below:
                self.add(library, library, 0o755)

    def write(self, path):
        folders = {str(parent) for name in self.files for parent in pathlib.PurePosixPath(name).parents} - {"."}
        entries = {f"{folder}/": (0, 0o755) for folder in folders} | self.files
        with tarfile.open(path, "w") as tar:
            for name, (content, mode) in sorted(entries.items()):
                entry = tarfile.TarInfo(name.rstrip("/"))
                entry.mode = mode
                if name.endswith("/"):
                    entry.type, entry.uid, entry.gid = tarfile.DIRTYPE, content, content
                    tar.addfile(entry)
                else:
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def base():
    layer = Layer()
    for tool in TOOLS:
        found = shutil.which(tool) or sys.exit(f"{tool} is not on this machine")
        layer.program(f"/usr/bin/{tool}", os.path.realpath(found))
    # Libraries that a Java one brings with it ask for these by name, though glibc has long held what was in them.
    glibc = pathlib.Path(next(library for library in libraries(os.path.realpath(shutil.which("bash"))) if "libc.so" in library)).parent
    for empty in ("libpthread.so.0", "libdl.so.2", "librt.so.1"):
        layer.add(f"{glibc}/{empty}", glibc / empty, 0o755)
    layer.text("/etc/passwd", PASSWD)
    layer.text("/etc/group", GROUP)
    layer.text("/etc/nsswitch.conf", "hosts: files dns\n")
    layer.add("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt")
    layer.add("/usr/share/doc/tickstream/LICENSE", ROOT / "LICENSE")
    layer.files["bin/bash"] = layer.files["usr/bin/bash"]
    layer.files["bin/sh"] = layer.files["usr/bin/sh"]
    layer.folder("/tmp", mode=0o1777)
    layer.folder("/data", owner=10001)
    layer.folder("/var/spill", owner=10001)
    return layer


def kafka(below):
    layer = Layer([below])
    version = re.search(r"<artifactId>kafka-tools</artifactId>\s*<version>([^<]+)<", (ROOT / "stack/kafka/pom.xml").read_text()).group(1)
    jars = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tickstream" / f"kafka-{version}"
    if not jars.is_dir():
        sys.exit(f"{jars} is not there: `stack up` (or any integration test) fetches Kafka's jars once")
    for jar in jars.glob("*.jar"):
        layer.add(f"/opt/kafka/libs/{jar.name}", jar)
    java = pathlib.Path(os.path.realpath(shutil.which("java") or sys.exit("java is not on this machine"))).parents[1]
    for part in ("bin/java", "bin/keytool"):
        layer.add(f"/usr/lib/jvm/{part}", java / part)
    for part in ("conf", "lib"):
        for path in sorted((java / part).rglob("*")):
            # What compiles, shows windows or is looked at with a debugger is no part of a broker.
            if path.is_file() and path.name not in ("src.zip", "ct.sym", "libawt_xawt.so") and path.suffix not in (".jsa", ".debuginfo"):
                layer.add(f"/usr/lib/jvm/{path.relative_to(java)}", path)
    for program in (java / "bin/java", java / "lib/server/libjvm.so"):
        layer.needs(program)
    layer.add("/etc/kafka/docker/run", HERE / "stand_in/kafka.sh", 0o755)
    for tool in ("kafka-consumer-groups", "kafka-topics", "kafka-get-offsets"):
        layer.add(f"/opt/kafka/bin/{tool}.sh", HERE / "stand_in/kafka-tool.sh", 0o755)
    layer.text("/opt/kafka/config/README", "What the broker is started with is rendered here.\n")
    layer.folder("/var/lib/kafka/data", owner=1000)
    return layer, {"Entrypoint": ["/etc/kafka/docker/run"], "User": "1000:1000"}


def postgres(below):
    layer = Layer([below])
    homes = sorted(pathlib.Path("/usr/lib/postgresql").glob("*"), key=lambda path: int(path.name))
    home = homes[-1] if homes else sys.exit("no Postgres is on this machine")
    for program in ("postgres", "initdb", "pg_ctl", "pg_isready", "psql"):
        layer.program(f"{home}/bin/{program}", home / "bin" / program)
    psql = home / "bin/psql"
    layer.needs(psql)
    for path in (home / "lib").rglob("*.so"):
        if path.name != "llvmjit.so" and path.parent == home / "lib":
            layer.program(str(path), path)
    layer.add(f"/usr/share/postgresql/{home.name}", f"/usr/share/postgresql/{home.name}")
    layer.add("/usr/share/zoneinfo", "/usr/share/zoneinfo")
    layer.add("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.utf8")
    layer.add("/usr/bin/locale", shutil.which("locale"), 0o755)
    layer.add("/usr/local/bin/entrypoint", HERE / "stand_in/postgres.sh", 0o755)
    layer.folder("/var/lib/postgresql/data", owner=999)
    layer.folder("/var/run/postgresql", owner=999)
    return layer, {"Entrypoint": ["/usr/local/bin/entrypoint"], "User": "999:999", "StopSignal": "SIGINT",
                   "Env": [f"PATH={home}/bin:/usr/local/bin:/usr/bin", "LANG=C.UTF-8"]}


def service(below, binaries, folder):
    layer = Layer([below])
    for binary in binaries:
        stripped = folder / binary.name
        subprocess.run(["strip", "-o", stripped, binary], check=True)
        layer.program(f"/usr/local/bin/{binary.name}", stripped)
    return layer


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("archive", type=pathlib.Path)
    arguments.add_argument("--binaries", type=pathlib.Path, default=pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug")
    arguments = arguments.parse_args()

    arguments.archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.archive.parent) as folder:
        folder = pathlib.Path(folder)
        shared = base()
        images = []
        for image, binary in SERVICES.items():
            layer = service(shared, [arguments.binaries / name for name in [binary, *BESIDE.get(image, [])]], folder)
            config = {"Entrypoint": ENTRY.get(image, [binary]), "Cmd": COMMAND.get(image, []), "User": "10001:10001", "WorkingDir": "/tmp",
                      "Env": ["PATH=/usr/local/bin:/usr/bin", "LOG_FORMAT=json", "ADMIN_ADDR=0.0.0.0:9100"]}
            images.append((f"tickstream/{image}:{VERSION}", layer, config))
        manifests = (ROOT / "k8s/overlays/local").glob("*.yaml")
        named = dict(re.findall(r"image: (apache/kafka|postgres):(\S+)", "".join(path.read_text() for path in manifests)))
        images.append((f"apache/kafka:{named['apache/kafka']}", *kafka(shared)))
        images.append((f"postgres:{named['postgres']}", *postgres(shared)))

        def packed(layer):
            digest = layer.write(folder / "layer.tar")
            (folder / "layer.tar").rename(folder / f"{digest}.tar")
            return digest

        manifest = []
        lowest = packed(shared)
        with tarfile.open(arguments.archive, "w") as archive:
            archive.add(folder / f"{lowest}.tar", f"{lowest}.tar")
            for name, layer, config in images:
                own = packed(layer)
                text = json.dumps({"architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux", "config": config,
                                   "rootfs": {"type": "layers", "diff_ids": [f"sha256:{lowest}", f"sha256:{own}"]}}).encode()
                label = f"{hashlib.sha256(text).hexdigest()}.json"
                (folder / label).write_bytes(text)
                archive.add(folder / label, label)
                archive.add(folder / f"{own}.tar", f"{own}.tar")
                size = (folder / f"{own}.tar").stat().st_size / 1e6
                (folder / f"{own}.tar").unlink()
                manifest.append({"Config": label, "RepoTags": [f"docker.io/{name if '/' in name else 'library/' + name}"],
                                 "Layers": [f"{lowest}.tar", f"{own}.tar"]})
                print(f"{name:32} {size:7.1f} MB over the {(folder / f'{lowest}.tar').stat().st_size / 1e6:.1f} MB that all share")
            (folder / "manifest.json").write_text(json.dumps(manifest))
            archive.add(folder / "manifest.json", "manifest.json")


if __name__ == "__main__":
    main()

"""The lake as it lies in the store's folder, read by DuckDB: nothing of ours reads here."""

import hashlib
import json
import re
import threading
from pathlib import Path

import duckdb

BAD = "tickstream-bad"


class LakeFiles:
    def __init__(self, world, prefix):
        self.root = Path(world.data) / "s3" / "lake" / prefix

    def objects(self, layer, kind="parquet"):
        return sorted((self.root / layer).rglob(f"*.{kind}"))

    def key(self, path):
        return str(path.relative_to(self.root.parent))

    def rows(self, query):
        """`query` with {raw} and {bronze} for the layers' objects."""
        raw = f"read_parquet('{self.root}/raw/*/epoch=*/partition=*/*.parquet', filename = true, hive_partitioning = false)"
        bronze = f"read_parquet('{self.root}/bronze/*/dt=*/hour=*/*.parquet', hive_partitioning = false)"
        return duckdb.sql(query.format(raw=raw, bronze=bronze)).fetchall()

    def left_out(self):
        """(partition, offset) of every record that a bronze object names in its footer instead of holding it."""
        footers = duckdb.sql(
            f"""select file_name::varchar, decode(value)
                from parquet_kv_metadata('{self.root}/bronze/*/dt=*/hour=*/*.parquet') where decode(key) = '{BAD}'"""
        ).fetchall()
        partition = re.compile(r"\+\d{4}\+(\d{5})\+\d{20}\.parquet$")
        return [(int(partition.search(name).group(1)), offset) for name, named in footers for offset, _ in json.loads(named)]

    def fingerprints(self, *layers):
        """What each object is: its bytes' MD5 (its ETag), and when and as which file it was written."""
        found = {path: written(path) for layer in layers for path in self.objects(layer)}
        return {path: (hashlib.md5(path.read_bytes()).hexdigest(), *now) for path, now in found.items() if now}


def written(path):
    """When and as which file; None for one that the store has renamed since it was listed: it was not an object yet."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class Watch(threading.Thread):
    """Looks at every raw object again and again: once seen, it may never be written again."""

    def __init__(self, files):
        super().__init__(daemon=True)
        self.files, self.seen, self.changed, self.looks = files, {}, [], 0
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(1):
            self.look()

    def look(self):
        present = set()
        for path in self.files.objects("raw"):
            now = written(path)
            if now is None:
                continue
            present.add(path)
            if self.seen.setdefault(path, now) != now:
                self.changed.append(path)
        self.changed += [path for path in self.seen if path not in present]
        self.looks += 1

    def stop(self):
        self.over.set()
        self.join()
        self.look()

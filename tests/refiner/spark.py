"""Runs spark/refine.py as its users do, by spark-submit, beside the other tests."""

import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyspark

ROOT = Path(__file__).resolve().parents[2]
# Little work in many small steps: what takes its time otherwise is the JVM's compiler.
QUICK = {
    "spark.master": "local[2]", "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2",
    "spark.log.level": "ERROR", "spark.sql.adaptive.enabled": "false",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


def environment():
    return {
        **os.environ, "SPARK_HOME": str(Path(pyspark.__file__).parent), "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }


class SparkJob:
    """Makes a range of days that holds everything, over output that is there already."""

    def __init__(self, lake):
        self.folder = lake.folder / "spark"
        self.silver, self.gold = self.folder / "silver", self.folder / "gold"
        today = datetime.datetime.fromtimestamp(lake.market.now / 1e6, datetime.UTC).date()
        self.first, self.last = datetime.date(2009, 1, 1), today + datetime.timedelta(days=2)
        # Of a day that has no row now, and of a day before the range.
        self.stale = self.silver / f"ticks/dt={self.first}/hour=05/stale.parquet"
        self.older = self.silver / "ticks/dt=2008-12-31/hour=05/older.parquet"
        some = lake.files("silver/ticks")[0]
        for file in (self.stale, self.older):
            file.parent.mkdir(parents=True)
            shutil.copy(some, file)
        settings = [word for name, value in QUICK.items() for word in ("--conf", f"{name}={value}")]
        self.log = (lake.folder / "spark.log").open("w+")
        self.process = subprocess.Popen(
            [Path(pyspark.__file__).parent / "bin" / "spark-submit", *settings, ROOT / "spark" / "refine.py",
             "--bronze", lake.root / "bronze", "--silver", self.silver, "--gold", self.gold,
             "--from", str(self.first), "--to", str(self.last), "--sql", f"file://{ROOT}/refiner/sql"],
            env=environment(), stdout=self.log, stderr=self.log, cwd=lake.folder,
        )

    def wait(self):
        code = self.process.wait(timeout=600)
        self.log.seek(0)
        assert code == 0, self.log.read()[-4000:]
        return self

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()

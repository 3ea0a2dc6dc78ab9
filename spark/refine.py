"""Makes silver and gold from bronze on Spark, with the SQL files that the refiner runs: `spark-submit spark/refine.py --help`.

The layout is the refiner's (Hive partitions, one file each); only the files' names are Spark's. Write to prefixes of your
own: the refiner takes objects that it did not write for somebody else's.
"""

import argparse
import datetime
import re
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.functions import col

SQL = Path(__file__).resolve().parents[1] / "refiner" / "sql"

# Name, partition columns, and the view that later tables read it by.
SILVER = [
    ("ticks", ["dt", "hour"], "silver_ticks"),
    ("quarantined_ticks", ["dt"], None),
    ("gaps", ["dt"], "silver_gaps"),
    ("index_weights", ["pregao_date", "action"], None),
]
GOLD = [
    ("candles", ["timeframe", "dt"], "gold_candles"),
    ("daily_stats", ["dt"], None),
    ("cross_rates", ["dt"], None),
    ("data_quality", ["dt"], None),
]
# Said, not inferred: a table may have no object yet, or its oldest one fewer columns.
LOGGED = "kafka_partition INT, kafka_offset BIGINT, broker_time TIMESTAMP"
BRONZE = {
    "ticks": f"""event_id BINARY, revision INT, source STRING, symbol STRING, base STRING, quote STRING, kind STRING,
        price DECIMAL(38,18), quantity DECIMAL(38,18), bid DECIMAL(38,18), ask DECIMAL(38,18), volume_24h DECIMAL(38,18),
        quote_volume_24h DECIMAL(38,18), market_cap DECIMAL(38,18), change_24h_pct DECIMAL(38,18), event_time TIMESTAMP,
        event_time_origin STRING, received_at TIMESTAMP, sequence BIGINT, trade_id STRING, source_symbol STRING,
        payload_id BINARY, previous_event_time TIMESTAMP, previous_symbol STRING, retracted BOOLEAN, fx_age_ms BIGINT,
        {LOGGED}""",
    "gaps": f"""id BINARY, source STRING, symbols ARRAY<STRING>, reason STRING, started_at TIMESTAMP, ended_at TIMESTAMP,
        detail STRING, {LOGGED}""",
    "index_weights": f"""event_id BINARY, revision INT, source STRING, index_name STRING, code STRING, asset STRING,
        type STRING, segment STRING, part DECIMAL(38,18), theoretical_quantity DECIMAL(38,18), pregao_date DATE,
        received_at TIMESTAMP, payload_id BINARY, retracted BOOLEAN, {LOGGED}""",
}
# Over all of time, and still free of overflow when a day is added.
ALWAYS = (-(2**62), 2**62)
DAY_US = 86_400_000_000

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    # A sum beyond DECIMAL(38,18) is null, as in the refiner, and does not end the job.
    "spark.sql.ansi.enabled": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.compression.codec": "zstd",
    # A quarantined tick may claim any century.
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    # dt, hour and timeframe are text, as in the SQL.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.sources.partitionOverwriteMode": "dynamic",
}


def session():
    spark = SparkSession.builder.appName("tickstream-refine").getOrCreate()
    for name, value in SETTINGS.items():
        spark.conf.set(name, value)
    return spark


class Refiner:
    """`first` and `last` are days of events (of trading, for index_weights; of the broker, for what is quarantined), both
    included; None and None make the whole lake again."""

    def __init__(self, spark, silver, gold, first=None, last=None, sql=SQL):
        self.spark, self.silver, self.gold, self.sql = spark, silver, gold, str(sql)
        self.first, self.last = first, last

    def read_bronze(self, bronze):
        for table, schema in BRONZE.items():
            rows = self.read(f"{bronze}/{table}", schema)
            if table == "ticks" and self.first:
                # No tick is more than a day ahead of the broker's clock, and no correction is older than what it corrects.
                rows = rows.where(col("broker_time") >= f"{self.first - datetime.timedelta(days=1)} 00:00:00")
            rows.createOrReplaceTempView(f"bronze_{table}")

    def run(self):
        for layer, root, tables in (("silver", self.silver, SILVER), ("gold", self.gold, GOLD)):
            for name, partitions, view in tables:
                path = f"{root}/{name}"
                # A gap may have begun long before the days that it reaches into.
                rows = self.rows(f"{layer}/{name}.sql", always=name == "gaps")
                if name == "gaps":
                    rows.createOrReplaceTempView(view)
                self.write(rows, f"{layer}/{name}.sql", path, partitions)
                if view and name != "gaps":
                    self.view(path, rows.schema, partitions, view)

    def rows(self, file, always=False):
        start, end = (micros(self.first), micros(self.last) + DAY_US) if self.first and not always else ALWAYS
        wanted = f"SELECT CAST({start} AS BIGINT) AS start_us, CAST({end} AS BIGINT) AS end_us"
        self.spark.sql(wanted).createOrReplaceTempView("wanted")
        return self.spark.sql(self.select(file))

    def read(self, path, schema):
        """The rows of a table; none where nothing of it is there."""
        if not self.filesystem(path).exists(self.path(path)):
            return self.spark.createDataFrame([], schema)
        return self.spark.read.schema(schema).parquet(path)

    def select(self, file):
        if "://" not in self.sql:
            return Path(self.sql, file).read_text()
        return self.spark.read.text(f"{self.sql}/{file}", wholetext=True).first()[0]

    def view(self, path, schema, partitions, view):
        rows = self.read(path, schema)
        if self.first:
            # The observed rate of an hour may be of the day before.
            first = self.first - datetime.timedelta(days=view == "gold_candles")
            rows = rows.where(self.within(partitions, first))
        rows.createOrReplaceTempView(view)

    def within(self, partitions, first=None):
        day = "pregao_date" if "pregao_date" in partitions else "dt"
        return col(day).between(str(first or self.first), str(self.last))

    def write(self, rows, file, path, partitions):
        """One file a partition, sorted as the SELECT says."""
        if self.first:
            rows = rows.where(self.within(partitions))
        order = partitions + [name for name in ordered_by(self.select(file)) if name not in partitions]
        rows = rows.repartition(*partitions).sortWithinPartitions(*order)
        # What Spark does by default, overwriting the whole table, also clears partitions that are empty now.
        mode = "dynamic" if self.first else "static"
        before = self.partitions(path) if self.first else set()
        rows.write.mode("overwrite").option("partitionOverwriteMode", mode).partitionBy(*partitions).parquet(path)
        if self.first:
            self.clear(path, partitions, before)

    def clear(self, path, partitions, before):
        """Removes the files that were there before in partitions of the range that have no row now: an overwritten partition
        holds none of the old files."""
        for file in before:
            values = dict(part.split("=", 1) for part in file.split("/") if "=" in part)
            day = values.get("pregao_date", values.get("dt", ""))
            if str(self.first) <= day <= str(self.last):
                self.filesystem(path).delete(self.path(file), False)

    def partitions(self, path):
        """The names of a table's files."""
        files = self.filesystem(path)
        if not files.exists(self.path(path)):
            return set()
        listed, found = files.listFiles(self.path(path), True), set()
        while listed.hasNext():
            name = listed.next().getPath().toString()
            if name.endswith(".parquet"):
                found.add(name)
        return found

    def path(self, path):
        return self.spark.sparkContext._jvm.org.apache.hadoop.fs.Path(path)

    def filesystem(self, path):
        return self.path(path).getFileSystem(self.spark.sparkContext._jsc.hadoopConfiguration())


def ordered_by(sql):
    """The columns of a SELECT's last ORDER BY."""
    columns = sql.rsplit("ORDER BY", 1)[1]
    return [re.sub(r"^\w+\.", "", column.strip()) for column in columns.split(",")]


def micros(day):
    midnight = datetime.datetime.combine(day, datetime.time(), datetime.timezone.utc)
    return int(midnight.timestamp()) * 1_000_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bronze", required=True, help="folder or s3a:// prefix that holds ticks/, gaps/, index_weights/")
    parser.add_argument("--silver", required=True, help="where silver is written")
    parser.add_argument("--gold", required=True, help="where gold is written")
    parser.add_argument("--from", dest="first", type=datetime.date.fromisoformat, metavar="DATE",
                        help="first day that is made again; the whole lake if not given")
    parser.add_argument("--to", dest="last", type=datetime.date.fromisoformat, metavar="DATE", help="last day, included")
    parser.add_argument("--sql", default=SQL, help="the folder with silver/ and gold/ (default: %(default)s)")
    args = parser.parse_args()
    if (args.first is None) != (args.last is None):
        parser.error("--from and --to go together")
    if args.first and args.first > args.last:
        parser.error(f"--from {args.first} is after --to {args.last}")
    return args


def main():
    args = arguments()
    refiner = Refiner(session(), args.silver, args.gold, args.first, args.last, args.sql)
    refiner.read_bronze(args.bronze)
    refiner.run()


if __name__ == "__main__":
    main()

"""Registers silver's and gold's objects as Iceberg tables where they stand: nothing is copied, only metadata is written.

    python lake/iceberg/register.py --lake s3://my-lake --warehouse s3://my-lake/iceberg --property uri=sqlite:///catalog.db

Needs `pip install "pyiceberg[pyarrow,sql-sqlite]"`; --property takes whatever the catalog takes, so that `--property type=glue`
registers in Glue and `--property s3.endpoint=…` reads another store than AWS. The refiner replaces objects in place, and a
snapshot that lists replaced ones must not be read: every run drops the tables' metadata and registers what stands then.
"""

import argparse
import sys
from urllib.parse import urlsplit

import pyarrow.parquet as parquet
from pyarrow.fs import FileSelector
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import PyArrowFileIO

# A candle's timeframe stands in the path alone, so each timeframe has a table.
TABLES = {
    "silver.ticks": "silver/ticks",
    "silver.quarantined_ticks": "silver/quarantined_ticks",
    "silver.gaps": "silver/gaps",
    "silver.index_weights": "silver/index_weights",
    **{f"gold.candles_{timeframe}": f"gold/candles/timeframe={timeframe}" for timeframe in ("1m", "5m", "1h", "1d")},
    "gold.daily_stats": "gold/daily_stats",
    "gold.cross_rates": "gold/cross_rates",
    "gold.data_quality": "gold/data_quality",
    "gold.forecasts": "gold/forecasts",
}


class Lake:
    """Objects under a root, which is a folder or an s3:// address."""

    def __init__(self, root, properties):
        parts = urlsplit(root)
        self.start = f"{parts.scheme}://" if parts.scheme else ""
        self.root = f"{parts.netloc}{parts.path}".rstrip("/")
        scheme = parts.scheme or "file"
        self.files = PyArrowFileIO(properties).fs_by_scheme(scheme, parts.netloc or None)

    def objects(self, path):
        """What lies below `path`, in the order in which it was written."""
        found = self.files.get_file_info(FileSelector(f"{self.root}/{path}", allow_not_found=True, recursive=True))
        found = [file for file in found if file.path.endswith(".parquet")]
        return [file.path for file in sorted(found, key=lambda file: (file.mtime_ns or 0, file.path))]

    def schema(self, path):
        with self.files.open_input_file(path) as file:
            return parquet.read_schema(file)


def register(catalog, name, lake, path):
    """Registers the objects below `path` as one snapshot. Gives their number."""
    objects = lake.objects(path)
    catalog.create_namespace_if_not_exists(name.split(".")[0])
    try:
        catalog.drop_table(name)
    except NoSuchTableError:
        pass
    if objects:
        # All or nothing: a table that cannot list its objects is not there.
        # What was written last has every column; one that older objects lack is null there.
        with catalog.create_table_transaction(name, schema=lake.schema(objects[-1])) as change:
            # The objects have no field ids: columns are found by their names.
            change.add_files([f"{lake.start}{file}" for file in objects], check_duplicate_files=False)
    return len(objects)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--lake", required=True, help="the lake's folder or s3:// address")
    parser.add_argument("--warehouse", required=True, help="where the tables' metadata is written")
    parser.add_argument("--catalog", default="tickstream", help="the catalog's name (default: %(default)s)")
    parser.add_argument("--property", action="append", default=[], metavar="KEY=VALUE", help="of the catalog; may be repeated")
    parser.add_argument("--table", action="append", choices=TABLES, help="this table only; may be repeated")
    args = parser.parse_args()
    properties = dict(text.split("=", 1) for text in args.property if "=" in text)
    if len(properties) < len(args.property):
        parser.error("--property takes KEY=VALUE, such as uri=sqlite:///catalog.db")
    catalog = load_catalog(args.catalog, **{"type": "sql", "warehouse": args.warehouse, **properties})
    lake = Lake(args.lake, properties)
    failed = False
    for name in args.table or TABLES:
        try:
            print(f"{name}: {register(catalog, name, lake, TABLES[name])} objects")
        except (KeyError, OverflowError, ValueError) as error:
            failed = True
            print(f"{name}: not registered: {type(error).__name__}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""lake/athena beside real objects: the same columns in the same order with types that Athena reads them by, and projected
paths under which the objects stand. No Athena runs here."""

import datetime
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "lake" / "athena"
FILES = sorted(FOLDER.glob("*.sql"))
TYPES = {
    "string": "string", "int32": "int", "int64": "bigint", "double": "double", "bool": "boolean", "binary": "binary",
    "fixed_size_binary[16]": "binary", "decimal128(38, 18)": "decimal(38,18)", "date32[day]": "date",
}


class Table:
    """A CREATE TABLE statement."""

    def __init__(self, file):
        text = re.sub(r"^--.*\n", "", file.read_text(), flags=re.MULTILINE)
        shape = re.fullmatch(
            r"CREATE EXTERNAL TABLE IF NOT EXISTS (\w+) \(\n(.*?)\n\)\nPARTITIONED BY \((.*?)\)\nSTORED AS PARQUET\n"
            r"LOCATION 's3://\$\{bucket\}/(\S+)/'\nTBLPROPERTIES \(\n(.*)\n\)\n", text, re.DOTALL,
        )
        assert shape, f"{file.name} is not one plain CREATE TABLE"
        self.name, columns, partitions, self.location, properties = shape.groups()
        self.columns = [tuple(line.strip().rstrip(",").split(" ", 1)) for line in columns.split("\n")]
        self.columns = [(name.strip("`"), of) for name, of in self.columns]
        self.partitions = dict(part.replace("`", "").split(" ") for part in partitions.split(", "))
        self.properties = dict(re.findall(r"^  '(.+)' = '(.*)',?$", properties, re.MULTILINE))

    def projected(self, column, value):
        """How Athena writes a value of a partition column into a path, or None where it never comes to that value."""
        told = {key.split(".", 2)[2]: text for key, text in self.properties.items() if key.startswith(f"projection.{column}.")}
        if told["type"] == "enum":
            return value if value in told["values"].split(",") else None
        first, last = told["range"].split(",")
        if told["type"] == "integer":
            assert self.partitions[column] == "int"
            return f"{int(value):0{told.get('digits', 1)}}" if int(first) <= int(value) <= int(last) else None
        assert (told["type"], told["format"], last) == ("date", "yyyy-MM-dd", "NOW+2DAYS")
        until = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=2)
        return value if first <= value <= str(until) else None


def athena_type(of):
    if pyarrow.types.is_timestamp(of):
        return "timestamp"
    if pyarrow.types.is_list(of):
        return f"array<{athena_type(of.value_type)}>"
    if pyarrow.types.is_struct(of):
        return f"struct<{','.join(f'{field.name}:{athena_type(field.type)}' for field in of)}>"
    return TYPES[str(of)]


def test_every_table_of_the_lake_is_there(lake):
    layers = {f"{layer}_{folder.name}" for layer in ("bronze", "silver", "gold") for folder in (lake.root / layer).iterdir()
              if not folder.name.startswith("_")}
    assert {file.stem for file in FILES} == layers | {"raw"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_table_is_what_its_objects_are(lake, file):
    described = Table(file)
    assert described.name == file.stem and described.properties["projection.enabled"] == "true"
    objects = [path for path in lake.files(described.location) if not path.name.startswith("_")]
    assert objects, f"the test's lake has no object of {described.name}"
    schemas = {tuple((field.name, athena_type(field.type)) for field in parquet.read_schema(path)) for path in objects}
    assert schemas == {tuple(described.columns)}
    template = described.properties["storage.location.template"]
    for path in objects:
        found = f"s3://${{bucket}}/{path.parent.relative_to(lake.root)}/"
        pattern = re.sub(r"\\\$\\\{(\w+)\\\}", lambda name: rf"(?P<{name[1]}>[^/]+)" if name[1] != "bucket" else r"\$\{bucket\}",
                         re.escape(template))
        # What lies deeper than the template is read with it.
        values = re.match(pattern, found)
        assert values, f"{found} does not match {template}"
        values = values.groupdict()
        assert values.keys() == described.partitions.keys()
        fill = lambda name: described.projected(name[1], values[name[1]]) if name[1] in values else name[0]  # noqa: E731
        again = re.sub(r"\$\{(\w+)\}", fill, template)
        assert found.startswith(again), f"{found} is not projected: {again}"

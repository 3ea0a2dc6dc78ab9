"""The notebooks run from top to bottom over the lake of the tests, and are kept without what they print."""

from pathlib import Path

import nbclient
import nbformat
import pytest
from spark import QUICK, environment

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def printed(name, monkeypatch, **variables):
    """Everything that the notebook prints."""
    for key, value in variables.items():
        monkeypatch.setenv(key, str(value))
    notebook = read(name)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": FOLDER}}).execute()
    streams = [output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "stream"]
    return "".join(stream.text for stream in streams if stream.name == "stdout")


@pytest.mark.parametrize("name", ["lake_duckdb", "lake_spark"])
def test_a_notebook_is_kept_without_outputs(name):
    code = [cell for cell in read(name).cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)


def test_the_duckdb_notebook(lake, monkeypatch):
    text = printed("lake_duckdb", monkeypatch, LAKE=lake.root)
    assert " 0 differ from what the refiner wrote" in text
    assert "market.payloads.v1" in text and "beats_naive" in text


def test_the_spark_notebook(lake, monkeypatch, tmp_path):
    settings = " ".join(f'--conf "{name}={value}"' for name, value in QUICK.items())
    quick = {key: value for key, value in environment().items() if key.startswith(("SPARK", "PYSPARK"))}
    quick["PYSPARK_SUBMIT_ARGS"] = f"{settings} pyspark-shell"
    text = printed("lake_spark", monkeypatch, LAKE=lake.root, OUT=tmp_path, **quick)
    assert " 0 differ from what the refiner wrote" in text
    assert "lo95" in text
    assert len(list(tmp_path.rglob("*.parquet"))) > 50

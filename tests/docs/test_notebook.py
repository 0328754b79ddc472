"""docs/notebook.ipynb runs from its first cell to its last, and its stored outputs are clean."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.docs.page import ROOT
from tests.support.packages import SOURCES

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
CELL_SECONDS = 120


def outputs_of(path: Path) -> list[str]:
    """What each cell of code printed or came to; standard error is no output that a reader should see."""
    notebook = nbformat.read(path, as_version=4)
    texts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert [output.get("name") for output in cell.outputs] in ([None], ["stdout"]), cell.outputs
            (output,) = cell.outputs
            texts.append(output.text if output.output_type == "stream" else output.data["text/plain"])
    return texts


def test_notebook_runs_on_a_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    """A new item is embedded, has neighbours and a score; no cell fails, and none takes for ever."""
    copy = tmp_path / NOTEBOOK.name
    copy.write_bytes(NOTEBOOK.read_bytes())
    variables = {"BUNDLE": str(tiny_bundle), "PYTHONPATH": SOURCES, "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    done = subprocess.run(
        [Path(sys.executable).parent / "jupyter-execute", "--inplace", f"--timeout={CELL_SECONDS}", str(copy)],
        env=os.environ | variables | {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=10 * CELL_SECONDS,
    )

    assert done.returncode == 0, done.stderr
    loaded, embedded, neighbours, recommended, new = outputs_of(copy)
    assert loaded == "'40 items, embeddings of width 16, sasrec'"
    assert embedded.endswith("(1, 32) -> (1, 16)\n")
    assert len(neighbours.splitlines()) == len(recommended.splitlines()) == 5
    assert not set(neighbours.splitlines()) & set(recommended.splitlines())
    assert "Star Trek: Nemesis: better than" in new


@pytest.mark.parametrize("word", ["/tmp", "/home", "/work", "/root", "Traceback"])
def test_stored_outputs_tell_nothing_of_a_machine(word: str) -> None:
    """They are there, of the demo's bundle, and name no path."""
    outputs = outputs_of(NOTEBOOK)

    assert outputs[0].startswith("'1,349 items")
    assert all(word not in output for output in outputs)

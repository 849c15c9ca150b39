"""The notebooks of docs/notebooks run from top to bottom, in a folder of their own: one in a kernel, the others in this process."""

import json
import runpy
from pathlib import Path

import pytest

import ablate

ROOT = Path(ablate.__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
IN_A_KERNEL = ROOT / "docs" / "notebooks" / "first_study.ipynb"


def test_there_are_three_and_none_holds_outputs():
    nbformat = pytest.importorskip("nbformat")
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning"
)  # of zmq and its clients
def test_a_notebook_runs_in_a_kernel(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(IN_A_KERNEL, as_version=4)
    client.NotebookClient(
        notebook, timeout=800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", []) if output["output_type"] == "execute_result"]  # fmt: skip
    assert shown


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path != IN_A_KERNEL], ids=lambda path: path.stem
)
def test_the_code_of_a_notebook_runs(path, tmp_path, monkeypatch):
    """Without the start of a kernel, which takes longer than the cells."""
    monkeypatch.chdir(tmp_path)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (tmp_path / "notebook.py").write_text("\n\n".join(code), encoding="utf-8")
    runpy.run_path("notebook.py", run_name="__main__")

"""Notebooks are kept without outputs and run from top to bottom, in smoke size."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def cells(path, kind):
    result = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]
    assert result, f"{path.name} has no {kind} cell"
    return result


def test_there_is_a_quickstart():
    assert "quickstart.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_outputs_are_stripped(path):
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_runs(path, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("JSNN_SMOKE", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)  # Agg warns that it shows nothing
    plt.switch_backend("Agg")
    namespace = {"__name__": "__main__"}
    try:
        for number, cell in enumerate(cells(path, "code")):
            code = compile("".join(cell["source"]), f"{path.name}, code cell {number}", "exec")
            exec(code, namespace)
    finally:
        plt.close("all")
    assert capsys.readouterr().out
    assert not list(tmp_path.iterdir()), "a notebook leaves no files"

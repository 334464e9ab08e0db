"""README's code runs, and the names it lists are those there are."""

import re
import tomllib
from pathlib import Path

import pytest

import jsnn
from jsnn.data.registry import ENTRIES
from jsnn.hardware.architectures import Countable
from jsnn.workload.analytic import dense

ROOT = Path(__file__).parent.parent
FILES = (
    "README.md",
    "CONTRIBUTING.md",
    "jsnn/README.md",
    "jsnn/hardware/README.md",
    "jsnn/data/README.md",
    "experiments/README.md",
    "experiments/benchmarks/README.md",
)
TEXTS = {name: (ROOT / name).read_text() for name in FILES}
README = "\n".join(TEXTS.values())


@pytest.mark.parametrize("file", ["README.md", "jsnn/README.md"])
def test_the_code_of_the_readme_runs(file, capsys):
    blocks = re.findall(r"```python\n(.*?)```", TEXTS[file], re.DOTALL)
    assert blocks
    exec("\n".join(blocks), {})
    assert "energy per inference" in capsys.readouterr().out


def test_the_code_about_data_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", TEXTS["jsnn/data/README.md"], re.DOTALL)
    exec("\n".join(blocks), {})
    assert "Drawn from the samples" in capsys.readouterr().out


def test_the_first_page_is_short():
    text = TEXTS["README.md"]
    assert len(text.splitlines()) <= 150 and len(text.split()) <= 1300


@pytest.mark.parametrize("file", FILES)
def test_links_and_pictures_are_there(file):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXTS[file])
    assert all(((ROOT / file).parent / link).exists() for link in links)


def test_machines_that_load_their_weights_from_dram_are_named():
    layer = dense(64, 32, steps=4, rate=0.1).geometry
    loading = set()
    for name in jsnn.hardware.machines():
        machine = jsnn.hardware.get(name)
        if isinstance(machine.architecture, Countable):
            plans = machine.architecture.actions(machine.technology, machine.design, layer)
            actions = [a for plan in plans for row in plan.values() for a in row]
            if any((a.unit, a.verb) == ("dram", "load") for a in actions):
                assert machine.design.batch == 64
                loading.add(name)
    (sentence,) = re.findall(
        r"Weights come out of DRAM once for 64 inferences on (.*?),\s+and", README, re.S
    )
    assert set(re.findall(r"`(.*?)`", sentence)) == loading


def test_data_sets_and_machines_are_all_listed():
    for name in (*ENTRIES, *jsnn.hardware.machines()):
        assert re.search(rf"\b{name}\b", README), f"README does not mention {name}"


def test_the_citation_is_that_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    fields = dict(re.findall(r"(?m)^(version|license): (.*)$", citation))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert fields == {"version": jsnn.__version__, "license": project["license"]}

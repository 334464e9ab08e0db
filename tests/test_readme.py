"""README's code runs, and the names it lists are those there are."""

import pkgutil
import re
from pathlib import Path

import jsnn
from jsnn import data
from jsnn.hardware.architectures import Countable
from jsnn.workload.analytic import dense

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_code_of_the_readme_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) > 1
    exec("\n".join(blocks), {})
    assert "energy per inference" in capsys.readouterr().out


def test_machines_that_load_their_weights_from_dram_are_named():
    layer = dense(64, 32, steps=4, rate=0.1).geometry
    loading = set()
    for name in jsnn.hardware.presets():
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
    for name in (*data.names(), *jsnn.hardware.presets()):
        assert re.search(rf"\b{name}\b", README), f"README does not mention {name}"


def test_what_the_readme_names_is_there():
    # Behind no slash or word, so that paths are left out; files end in py, json and the like.
    named = set(re.findall(r"(?<![\w/.])jsnn(?:\.[A-Za-z_]\w*)+", README))
    assert len(named) > 5
    for name in named:
        pkgutil.resolve_name(name)

"""README's code runs, and the names it lists are those there are."""

import re
from pathlib import Path

import jsnn
from jsnn import data

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_code_of_the_readme_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) > 1
    exec("\n".join(blocks), {})
    assert "energy per inference" in capsys.readouterr().out


def test_data_sets_and_machines_are_all_listed():
    for name in (*data.names(), *jsnn.hardware.presets()):
        assert re.search(rf"\b{name}\b", README), f"README does not mention {name}"

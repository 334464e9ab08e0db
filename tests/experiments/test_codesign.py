"""The experiment that trains a machine beside a network, end to end on a tiny one."""

import json

import pytest

from experiments import codesign
from jsnn.hardware import get


def test_a_machine_comes_out_that_can_be_read_back(tmp_path, capsys):
    result = codesign.run(
        [
            "--smoke",
            "--out",
            str(tmp_path / "run"),
            "--design-parameters",
            "local_bytes=512:65536,pes=16:4096",
        ]
    )
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert stored["final"] == result["final"] and len(stored["rows"]) == 2
    for row in stored["rows"]:
        # Both scores, and the feasible one of powers of two and whole numbers.
        assert set(row) == {"epoch", "turn", "relaxed", "feasible"}
        values = row["feasible"]["values"]
        assert values["local_bytes"] in {2.0**n for n in range(9, 17)}
        assert values["pes"] == round(values["pes"])
    machine = get(str(tmp_path / "run" / "design.toml"))
    assert machine.name == "spatial-45nm-codesigned"
    design = stored["designs"][stored["chosen"]]
    assert {n: machine.design.parameters[n] for n in design} == design
    costs = stored["cost_on_training_sample"]
    assert costs[stored["chosen"]] == min(costs.values())
    shown = capsys.readouterr().out
    assert "relaxed" in shown and "feasible" in shown and "spatial-45nm-codesigned" in shown


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--how", "both"], "joint or alternate"),
        (["--design-parameters", "pes"], "name=low:high"),
        (["--design-parameters", "hops=1:4"], "cannot be trained"),
        (["--design-parameters", "pes=16:4096,pes=16:512"], "different names"),
        (["--design-parameters", "pes=4096:16"], "low < high"),
        (["--area-weight", "0", "--design-parameters", "pes=16:4096"], "nothing pushes pes down"),
    ],
)
def test_mistakes_are_named(words, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        codesign.run(["--smoke", "--out", str(tmp_path / "run"), *words])
    assert not (tmp_path / "run").exists()

"""A run that trains its machine: the design that comes out, under what it may spend."""

import json

import pytest

from experiments import energy_report, train
from experiments.machines import BOUNDS, chosen_parameters, node_nm
from jsnn.hardware import get

SMALL = "--limit 64 --epochs 3 --batch 8 --widths 12 --steps 3 --no-compile-cache".split()
LIMITS = "--energy-budget 3.7nJ --latency-budget 1us --area-budget 4.5mm2".split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("machine") / "run"
    words = ["--hardware", "spatial-45nm", "--design-parameters", "all", "--design-rate", "200"]
    result = train.run([*SMALL, *LIMITS, *words, "--out", str(out)])
    return out, json.loads(json.dumps(result))


def test_the_machine_that_comes_out_is_feasible(trained):
    out, result = trained
    design = result["design"]
    machine = get(str(out / "design.toml"))
    assert machine.name == design["machine"] == "spatial-45nm-codesigned"
    feasible = design["parameters"]["feasible"]
    assert set(feasible) >= {"local_bytes", "pes", "targets_per_message"}
    assert {n: machine.design.parameters[n] for n in feasible} == feasible
    assert "weight_bits" in feasible and "voltage_v" not in feasible, "a supply was not named"
    assert feasible["local_bytes"] in {2.0**n for n in range(8, 21)}
    assert feasible != design["parameters"]["relaxed"]
    assert set(design["validation"]) == {"relaxed", "feasible"}


def test_the_feasible_machine_is_within_its_limits(trained):
    _, result = trained
    limits = result["budget"]["limits"]
    assert set(limits) == {"energy_pj", "latency_s", "area_mm2"}
    assert all(one["feasible"]["train"] for one in limits.values())
    assert result["total_pj"] == pytest.approx(limits["energy_pj"]["test"])


def test_a_report_prices_the_run_on_its_own_machine(trained, capsys):
    out, result = trained
    (actual,) = energy_report.run([str(out), "--draws", "2"]).reports
    assert actual.hardware == "spatial-45nm-codesigned"
    assert actual.snn_pj == pytest.approx(result["total_pj"], rel=1e-5)
    assert "WARNING" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--design-parameters", "pes"], "name=low:high"),
        (["--design-parameters", "hops=1:4"], "cannot be trained"),
        (["--design-parameters", "local_bytes=512:65536"], "nothing pushes local_bytes down"),
        (["--design-parameters", "voltage_v=0.6:0.9"], "needs the supply"),
        (["--design-parameters", "weight_bits=2:8", "--weight-bits", "4"], "are one thing"),
        (
            ["--design-parameters", "all", "--energy-weight", "0", "--weight-bits", "4"],
            "pushed both ways",
        ),
    ],
)
def test_mistakes_are_named(words, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        train.run([*SMALL, "--hardware", "spatial-45nm", *words, "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_all_are_those_that_what_is_paid_for_pushes_both_ways():
    machine = get("spatial-45nm")
    every = {parameter.name for parameter in chosen_parameters("all", machine)}
    assert every <= BOUNDS.keys()
    calm = {
        parameter.name
        for parameter in chosen_parameters("all", machine, {"task", "capacity", "energy"})
    }
    assert calm == {"targets_per_message", "weight_bits"} < every
    with pytest.raises(ValueError, match=r"--area-budget needs .* node"):
        node_nm("spatial", "--area-budget")

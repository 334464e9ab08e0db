"""Several levers in one run: each is applied in turn, and the integers are of what is left."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import train
from jsnn.codesign.bit_widths import Bits
from jsnn.codesign.pruning.apply import apply_pruning
from jsnn.codesign.pruning.pruning import UnitPruning, WeightPruning
from jsnn.codesign.time_window import Window
from jsnn.energy import estimate_layers
from jsnn.export.integer import IntegerNetwork, export
from jsnn.hardware import get
from jsnn.models import MLP, SRNN
from jsnn.neurons import LI, LIF, Fixed
from jsnn.nn import run
from jsnn.train.levers import Levered, price

MACHINE = get("neuromorphic-22nm")
FRAMES = (jax.random.uniform(jax.random.key(1), (6, 3, 8)) < 0.5).astype(jnp.float32)
NETWORKS = {"mlp": MLP, "srnn": SRNN}
NEURONS = {"neuron": Fixed(LIF(v_threshold=0.2)), "readout_neuron": Fixed(LI())}
FIXED = {**NEURONS, "input_kind": "events"}
PRUNING = {
    "units": (UnitPruning(),),
    "weights": (WeightPruning(start=0.5),),
}


def closed(levered, seed=0):
    """Variables with a third of the units shut."""
    variables = jax.jit(levered.init)(jax.random.key(seed), FRAMES)
    leaves = variables["params"]["levers"]
    if "units" in leaves:
        leaves["units"] = {
            name: jnp.where(jnp.arange(scores.size) % 3 == 1, -1.0, 1.0)
            for name, scores in leaves["units"].items()
        }
    return variables


def ran(model, variables):
    return jax.jit(lambda variables: run(model, variables, FRAMES))(variables)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("pruning", PRUNING)
def test_the_smaller_network_on_its_grids_does_the_same(network, pruning):
    levered = Levered(NETWORKS[network]((7, 5), 3, **FIXED), (*PRUNING[pruning], Bits(4, 8)))
    variables = closed(levered)
    small = apply_pruning(levered, variables)
    assert [lever.name for lever in small.levers] == ["bits"]
    outputs, workload = ran(levered, variables)
    less, shrunk = ran(small.model, small.variables)
    assert np.abs(outputs).max() > 0
    np.testing.assert_array_equal(less, outputs)
    assert small.model.model.widths == ((7, 5) if pruning == "weights" else (5, 3))
    for name, before in zip(workload.names, workload, strict=True):
        kept = small.units.get(name, np.ones(before.spikes.shape[-1], bool))
        np.testing.assert_array_equal(shrunk[name].spikes, before.spikes[:, kept])
    integers = export(small.model, small.variables)
    assert integers.run(FRAMES).equals(outputs).all()


def test_the_energy_of_closed_units_is_that_of_the_network_without_them():
    levered = Levered(MLP((7, 5), 3, **FIXED), (UnitPruning(), Bits(4, 8)))
    variables = closed(levered)
    small = apply_pruning(levered, variables)
    totals = [
        estimate_layers(price(one.levers, given["params"], ran(one, given)[1], MACHINE)).total_pj()
        for one, given in ((levered, variables), (small.model, small.variables))
    ]
    np.testing.assert_allclose(*totals, rtol=1e-6)


def test_what_had_to_stay_is_named():
    for kind, name, leaf, held in (
        ("units", "hidden_0", -jnp.ones(4), "hidden_0"),
        ("weights", "readout", {"kernel": jnp.float32(9.0)}, "readout/kernel"),
    ):
        levered = Levered(MLP((4,), 3, input_kind="events"), PRUNING[kind])
        variables = closed(levered)
        variables["params"]["levers"][kind][name] = leaf
        assert apply_pruning(levered, variables).held == (held,)


def test_weights_of_closed_units_are_not_taken_twice():
    levered = Levered(MLP((4,), 3, input_kind="events"), (UnitPruning(), WeightPruning()))
    variables = closed(levered)
    workload = ran(levered, variables)[1]
    with pytest.raises(ValueError, match="taken away twice"):
        price(levered.levers, variables["params"], workload, MACHINE)


def test_without_pruning_there_is_nothing_to_apply():
    levered = Levered(MLP((4,), 3, readout=None), (Window(1, 3),))
    with pytest.raises(ValueError, match="expected UnitPruning or WeightPruning"):
        apply_pruning(levered, {"params": {}})


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    out = tmp_path_factory.mktemp("everything") / "run"
    flags = "--limit 64 --epochs 2 --batch 16 --widths 12,8 --prune-rate 300 --no-compile-cache"
    levers = "--window 2:6 --prune units --weight-bits 4 --state-bits 8 --early-exit gap"
    result = train.run([*flags.split(), *levers.split(), "--out", str(out)])
    return out, json.loads(json.dumps(result))


def test_a_run_takes_all_levers_at_once(everything):
    out, result = everything
    window, entry = result["window"]["whole"], result["pruned"]
    assert result["steps"] == window["steps"] < 6
    assert entry["prune"] == "units" and entry["units"]["hidden_0"][0] < 12
    assert entry["dense_pj"] == pytest.approx(result["total_pj"], rel=1e-5)
    assert entry["test_accuracy"] == result["test_accuracy"]
    assert result["integers"] == {"accuracy": result["test_accuracy"], "outputs_unlike_float": 0}
    assert {row["weight_bits"] for row in result["bits"].values()} == {4}
    left = [units for units, _ in entry["units"].values()]
    assert [len(layer.start) for layer in IntegerNetwork.load(out / "integers.npz").layers] == [
        *left,
        10,
    ]
    assert 1 <= result["early_exit"]["test"]["steps"] <= window["steps"]


def test_weights_are_counted_in_bytes_of_their_bits(everything):
    _, result = everything
    entry = result["pruned"]
    (first, _), (second, _) = entry["units"].values()
    assert entry["weight_bytes_dense"] == (64 * first + first * second + second * 10) / 2

"""Design parameters: each that may be trained has costs both ways, others are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsnn
from jsnn.codesign.hardware.design_parameters import (
    DesignParameter,
    DesignParameters,
    Supply,
    committed,
    squared,
)
from jsnn.codesign.hardware.rules import RULES, VOLTAGE, refusal
from jsnn.codesign.hardware.search import search
from jsnn.codesign.hardware.trade import Trade, check_opposed
from jsnn.hardware import get, machines
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

SUPPLY = Supply(45, 0.9)
TRADE = Trade(latency_weight=0.3, area_weight=0.3, node_nm=45)
# A layer that hardly fires, one that always does.
WORK = Workload(
    (
        dense(96, 256, steps=4, rate=0.05, name="calm"),
        dense(256, 10, steps=4, rate=0.9, name="busy"),
    )
)
BOUNDS = {
    "local_bytes": (512, 65536),
    "global_bytes": (1024, 4 * 1024**2),
    "pes": (4, 4096),
    "pe_state_bytes": (8, 512),
    "core_weight_bytes": (256, 256 * 1024),
    "core_state_bytes": (64, 64 * 1024),
    "core_neurons": (4, 2048),
    "cores": (1, 2048),
    "targets_per_message": (1, 1024),
    "clock_hz": (20e6, 2e9),
    VOLTAGE: (0.55, 1.0),
    "dense_share": (0, 1),
    "weight_bits": (2, 8),
}
MACHINES = {name: get(name) for name in ("classical-45nm", "event-45nm", "spatial-45nm")} | {
    "neuromorphic-22nm": committed(get("neuromorphic-22nm")),
    "spatial-45nm, committed": committed(get("spatial-45nm")),
}


def offered(machine):
    """All design parameters of a machine that can be trained, but bits, which need a network."""
    return tuple(
        DesignParameter(name, *BOUNDS[name], per_layer=name == "dense_share")
        for name in RULES
        if name in BOUNDS and name != "weight_bits" and refusal(machine, name) is None
    )


def cost(lever, trade, work=WORK):
    """`(leaves, temperature) -> cost`, as training and search see it."""
    before = [(layer, lever.hardware) for layer in work]

    def of(leaves, temperature=0.1):
        values, excess = lever.settled(leaves, before)
        return trade.cost(lever.on(values, before), before, squared(excess), temperature)

    return of


@pytest.mark.parametrize("name", MACHINES)
def test_every_parameter_that_is_offered_is_pushed_both_ways(name):
    machine = MACHINES[name]
    parameters = offered(machine)
    assert parameters
    lever = DesignParameters(machine, parameters, SUPPLY)
    trade = TRADE
    if name == "neuromorphic-22nm":
        assert lever.names == ("dense_share",)
        trade = Trade()
    check_opposed(lever, trade.terms)
    start = jax.tree.map(np.asarray, lever.init(jax.random.key(0), None, WORK))
    # Each design parameter over its whole range, the others where they start and where all is
    # small.
    others = (start, {n: leaf * 0 - 2 for n, leaf in start.items()})
    points = [
        {**base, parameter.name: np.full_like(base[parameter.name], leaf)}
        for parameter in parameters
        for base in others
        for leaf in np.linspace(-4, 4, 9)
    ]
    stacked = {n: np.stack([point[n] for point in points]) for n in start}
    slopes = jax.jit(jax.vmap(jax.grad(cost(lever, trade))))(stacked)
    slopes = jax.device_get(slopes)
    for number, parameter in enumerate(parameters):
        result = slopes[parameter.name].reshape(len(parameters), 18, -1)[number]
        assert np.isfinite(result).all()
        # In one layer or the other, where each has its own.
        assert (result > 1e-5).any(), f"nothing pushes {parameter.name} down"
        assert (result < -1e-5).any(), f"nothing pushes {parameter.name} up"


@pytest.mark.parametrize("name", machines())
def test_what_nothing_opposes_is_refused_with_a_reason(name):
    machine = get(name)
    for parameter in (*machine.design.parameters, VOLTAGE):
        reason = refusal(machine, parameter)
        if reason is None:
            assert parameter in RULES
            continue
        value = machine.design.parameters.get(parameter, 0.9)
        with pytest.raises(ValueError, match="cannot be trained: "):
            DesignParameters(
                machine, (DesignParameter(parameter, *_around(parameter, value)),), SUPPLY
            )


def _around(name, value):
    low, high = jsnn.hardware.design.BOUNDS.get(name, (0, 10))
    return max(value / 2, low), min(value * 2 + 1, high)


def test_offered_are_what_the_table_says():
    expected = {
        "classical-45nm": {"local_bytes", "global_bytes", "clock_hz", VOLTAGE},
        "event-45nm": {
            *("core_weight_bytes", "core_state_bytes", "core_neurons", "cores"),
            *("targets_per_message", "clock_hz", VOLTAGE),
        },
        "spatial-45nm": {
            *("local_bytes", "global_bytes", "pes", "pe_state_bytes"),
            *("targets_per_message", "clock_hz", VOLTAGE),
        },
        "hierarchy-45nm": set(),
        "neuromorphic-22nm": set(),
        "loihi-14nm": set(),
    }
    for name, parameters in expected.items():
        bits = {"weight_bits"} & set(get(name).design.parameters)
        assert {k for k in RULES if refusal(get(name), k) is None} == parameters | bits, name


# Weights are little of what a memory of the first holds, and most of the energy of the second.
@pytest.mark.parametrize(("name", "weight"), [("hierarchy-45nm", 10.0), ("neuromorphic-22nm", 0.1)])
def test_bits_are_opposed_by_the_task(name, weight):
    lever = DesignParameters(get(name), (DesignParameter("weight_bits", 2, 8),))
    model = jsnn.models.MLP((16,), 4, input_kind="events")
    frames = (jax.random.uniform(jax.random.key(3), (4, 64, 12)) < 0.4).astype(jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    target, work = jsnn.run(model, variables, frames)
    start = lever.init(jax.random.key(0), variables, work)
    priced = cost(lever, Trade(), work)

    @jax.jit
    @jax.vmap
    @jax.value_and_grad
    def loss(leaves):
        outputs, _ = jsnn.run(model, lever.network(leaves, variables), frames)
        error = jnp.square(outputs - target).sum() / jnp.square(target).sum()
        return error + weight * priced(leaves)

    leaves = jnp.linspace(-4, 4, 17)
    values, slopes = loss({"weight_bits": leaves})
    slopes = slopes["weight_bits"]
    assert (slopes > 1e-5).any() and (slopes < -1e-5).any()
    # Neither the narrowest nor the widest: the task pays for bits, up to a point.
    assert 0 < int(values.argmin()) < len(leaves) - 1
    assert float(lever.values(start)["weight_bits"]) == pytest.approx(8, abs=0.1)


def test_a_weight_of_zero_leaves_parameters_unopposed():
    spatial = get("spatial-45nm")
    for name, trade, missing in (
        ("pes", Trade(latency_weight=1.0), "down: it takes area"),
        (VOLTAGE, Trade(area_weight=1.0, node_nm=45), "up: it takes latency"),
        ("weight_bits", TRADE, "up: it takes task"),
    ):
        with pytest.raises(ValueError, match=f"nothing pushes {name} {missing}"):
            search(
                DesignParameters(spatial, (DesignParameter(name, *BOUNDS[name]),), SUPPLY),
                trade,
                WORK,
            )

"""Searches for a design: planted ones are found, and none better by trying everything."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from jsnn.codesign.hardware.design_parameters import (
    DesignParameter,
    DesignParameters,
    Supply,
    squared,
)
from jsnn.codesign.hardware.search import search
from jsnn.codesign.hardware.trade import Trade
from jsnn.hardware import get
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

SUPPLY = Supply(45, 0.9)
WORK = Workload(
    (
        dense(96, 256, steps=4, rate=0.05, name="calm"),
        dense(256, 10, steps=4, rate=0.9, name="busy"),
    )
)
TRADE = Trade(latency_weight=0.3, area_weight=0.3, node_nm=45)


def test_a_planted_number_of_processing_elements_is_found():
    """L = a + b / pes and A = c + d · pes have one best number; it is worked out here by hand."""
    machine = get("spatial-45nm").with_design(global_bytes=1024, local_bytes=32768)
    trade = Trade(latency_weight=2.0, area_weight=1.0, node_nm=45)
    result = search(
        DesignParameters(machine, (DesignParameter("pes", 16, 4096),)),
        trade,
        WORK,
        steps=150,
        restarts=2,
    )
    layers = [(96, 256, 0.05, 1), (256, 10, 0.9, 1)]
    # A synop each and a step of every neuron; hops are waited for in each step.
    work = sum(4 * rate * i * n + 4 * n for i, n, rate, _ in layers)
    hops = 4 * len(layers)
    area = 8 * (2 * (1024 + 32768)), 8 * 64
    pes0 = machine.design.pes
    latency0, area0 = hops + work / pes0, area[0] + area[1] * pes0
    best = np.sqrt(2.0 * work / latency0 / (area[1] / area0))
    assert 64 < best < 2048
    assert result.relaxed["pes"] == pytest.approx(best, rel=0.01)
    assert abs(result.feasible["pes"] - best) < 0.01 * best + 1
    assert result.feasible_cost < result.start_cost


def test_a_planted_supply_is_found():
    lever = DesignParameters(
        get("classical-45nm"), (DesignParameter("voltage_v", 0.55, 1.0),), SUPPLY
    )
    # Arithmetic that costs, memories that do not: so that the supply has something to save.
    lever = dataclasses.replace(lever, hardware=_free_memories(lever.hardware))
    trade = Trade(latency_weight=0.2)
    result = search(lever, trade, WORK, steps=150, restarts=2)
    of = jax.jit(lambda v: _cost(lever, trade, v))
    expected = minimize_scalar(lambda v: float(of(v)), bounds=(0.56, 0.99), method="bounded")
    assert 0.58 < expected.x < 0.97
    assert result.relaxed["voltage_v"] == pytest.approx(expected.x, abs=0.01)
    assert result.feasible["voltage_v"] == pytest.approx(expected.x, abs=0.0151)
    # The clock follows, and no faster than the supply lets it.
    slow = float(SUPPLY.slowdown(float(result.feasible["voltage_v"])))
    assert result.feasible["clock_hz"] <= 200e6 / slow < result.feasible["clock_hz"] + 1e6


def _cost(lever, trade, volts):
    """By hand: logic at the supply, the clock as slow as that makes it."""
    clock = jnp.minimum(200e6 / SUPPLY.slowdown(volts), 200e6)
    moved = lever.machine({"voltage_v": volts, "clock_hz": clock})
    return trade.cost([(l, moved) for l in WORK], [(l, lever.hardware) for l in WORK])


def _free_memories(machine):
    nothing = {n: 0.0 for n in ("sram_8kib_pj", "dram_pj_per_bit")}
    return machine.with_constants(**nothing)


def test_the_search_is_as_good_as_trying_everything():
    parameters = (
        DesignParameter("core_weight_bytes", 1024, 65536),
        DesignParameter("core_state_bytes", 128, 4096),
        DesignParameter("cores", 1, 256),
        DesignParameter("targets_per_message", 1, 256),
    )
    machine = get("event-45nm").with_design(cores=128, core_state_bytes=2048)
    lever = DesignParameters(machine, parameters)
    result = search(lever, TRADE, WORK, steps=100, restarts=6)
    before = [(layer, machine) for layer in WORK]
    powers = [
        [2.0**n for n in range(low, high)] for low, high in ((10, 17), (7, 13), (0, 9), (0, 9))
    ]
    grid = np.array(list(itertools.product(*powers)))

    @jax.jit
    @jax.vmap
    def tried(values):
        whole, excess = lever.construct(values, before)
        value = TRADE.cost(lever.on(whole, before), before)
        return jnp.where(squared(excess) > 1e-6, jnp.inf, value)

    costs = tried({k.name: grid[:, n] for n, k in enumerate(parameters)})
    assert result.feasible_cost <= 1.001 * float(costs.min())
    lever.machine(result.feasible).check(
        [(lever.machine(result.feasible).design, l.geometry) for l in WORK]
    )

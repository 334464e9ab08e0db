"""Time of the energy estimate of 10 million synapses, gradient included, beside a forward pass.

    python -m experiments.benchmarks.estimate_cost

Two layers of 2,236 neurons on 2,236 inputs, T = 10, 32 samples. Timed in turns: the forward pass
that gives outputs and workload, and value and gradient of the energy with respect to every count of
that workload, every constant and every design parameter. Writes
`experiments/results/benchmarks/estimate_cost.json`.
"""

from __future__ import annotations

import dataclasses
import statistics

import jax
import jax.numpy as jnp

import jsnn
from experiments.benchmarks.measuring import FOLDER, in_turns, ratio, report, seconds
from experiments.config import option, parse
from jsnn.models import MLP
from jsnn.neurons import LI, LIF

WIDTH, STEPS, BATCH, RATE = 2236, 10, 32, 0.1
MACHINES = ("neuromorphic-22nm", "classical-45nm", "event-45nm", "spatial-45nm")


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    rounds: int = option(9, "pairs of timed slices", least=3)
    slice: int = option(20, "energies in a slice, and a pass", least=1)
    width: int = option(WIDTH, "neurons of a layer", least=1)
    out: str = option(f"{FOLDER}/estimate_cost.json", "where the figures go")


def main(config: Config) -> dict:
    """Time forward passes and energy estimates in turns, and write the medians."""
    frames = jax.random.bernoulli(jax.random.key(0), RATE, (STEPS, BATCH, config.width))
    frames = frames.astype(jnp.float32)
    model = MLP(
        (config.width,),
        config.width,
        neuron=LIF(tau_mem=10e-3),
        readout_neuron=LI(tau_mem=10e-3),
        input_kind="events",
    )
    variables = model.init(jax.random.key(1), frames)
    forward = jax.jit(lambda v, x: jsnn.run(model, v, x))
    _, workload = forward(variables, frames)
    synapses = sum(layer.geometry.synapses for layer in workload)

    def total(workload, machine):
        return jsnn.estimate_energy(workload, machine).total_pj().mean()

    priced = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    figures = {}
    for name in MACHINES:
        machine = jsnn.hardware.get(name)
        if "cores" in machine.design.parameters:
            machine = machine.with_design(cores=1e6)
        jax.block_until_ready(priced(workload, machine))
        timers = {
            "energy": lambda m=machine: seconds(lambda: priced(workload, m), config.slice),
            "pass": lambda: seconds(lambda: forward(variables, frames), 1),
        }
        rows = in_turns(timers, config.rounds)
        figures[name] = {
            "estimate_ms": 1e3 * statistics.median(rows["energy"]),
            "pass_ms": 1e3 * statistics.median(rows["pass"]),
            "share": ratio(rows, "energy", "pass")["median"],
        }
    result = {
        "command": "python -m experiments.benchmarks.estimate_cost",
        "what": "value and gradient of the energy, as a share of the forward pass",
        "synapses": synapses,
        "steps": STEPS,
        "batch": BATCH,
        "machines": figures,
        "rounds": config.rounds,
        "slice": config.slice,
    }
    report(result, config.out)
    return result


if __name__ == "__main__":
    main(Config(**parse(Config, None, __doc__)))

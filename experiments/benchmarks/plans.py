"""Forward and backward of one population by the fused plan against the reference, in turns.

    taskset -c 0 python -m experiments.benchmarks.plans

Gradients of parameters, currents and recurrent weights. The shapes are those of networks that are
trained on SHD (feed-forward and recurrent), of the Open Neuromorphic benchmark and of QTDB; the
currents are random. Temporaries are the memory that XLA reports beside arguments and results.
Writes `experiments/results/benchmarks/plans.json`.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import option, parse
from jsnn.neurons import ALIF, BRF, LIF
from jsnn.unroll import DenseRecurrence, unroll

# name: neuron, (T, B, N), recurrent, scale of the currents
CASES = {
    "shd": (LIF(), (100, 128, 128), False, 0.5),
    "onm512": (LIF(), (500, 16, 512), False, 0.5),
    "shdrec": (ALIF(), (100, 128, 256), True, 0.5),
    "qtdb": (BRF(), (1300, 16, 36), True, 60.0),
}
PLANS = ("scan", "fused")


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    rounds: int = option(11, "pairs of timed calls", least=3)
    out: str = option("experiments/results/benchmarks/plans.json", "where the figures go")


def compare(name: str, rounds: int) -> dict:
    """Times and temporaries of both plans on one case, and the ratio of each pair."""
    neuron, shape, recurrent, scale = CASES[name]
    draw, width = np.random.default_rng(0), shape[-1]
    currents = jnp.asarray(draw.normal(0.2 * scale, scale, shape), jnp.float32)
    seen = jnp.asarray(draw.normal(0, 1, shape), jnp.float32)
    weights = jnp.asarray(draw.normal(0, 0.5 * width**-0.5, (width, width)), jnp.float32)
    arguments = neuron.init_params(jax.random.key(0), (width,)), currents, weights, seen

    def loss(params, currents, weights, seen, way):
        feedback = DenseRecurrence(weights) if recurrent else None
        _, spikes = unroll(neuron, params, currents, plan=way, recurrent=feedback)
        return (spikes * seen).sum(), spikes

    wanted = (0, 1, 2) if recurrent else (0, 1)
    compiled = {
        way: jax.jit(jax.grad(loss, wanted, has_aux=True), static_argnums=4)
        .lower(*arguments, way)
        .compile()
        for way in PLANS
    }
    results = {way: jax.block_until_ready(run(*arguments)) for way, run in compiled.items()}
    (want, spikes), (got, same) = (results[way] for way in PLANS)
    apart = [
        float(jnp.abs(g - w).max() / jnp.abs(w).max())
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    ]
    rows = []
    for _ in range(rounds):
        row = []
        for run in compiled.values():
            started = time.perf_counter()
            jax.block_until_ready(run(*arguments))
            row.append(time.perf_counter() - started)
        rows.append(row)
    ratios = sorted(scan / fused for scan, fused in rows)
    return {
        "neuron": type(neuron).__name__,
        "shape": shape,
        "recurrent": recurrent,
        "ms": {
            w: 1e3 * statistics.median(t)
            for w, t in zip(PLANS, zip(*rows, strict=True), strict=True)
        },
        "scan_over_fused": {
            "median": statistics.median(ratios),
            "min": ratios[0],
            "max": ratios[-1],
        },
        "temporaries_mib": {
            way: run.memory_analysis().temp_size_in_bytes / 2**20 for way, run in compiled.items()
        },
        "spikes_equal": bool((same == spikes).all()),
        "spike_rate": float(spikes.mean()),
        "gradients_apart": max(apart),
    }


def main(config: Config) -> dict:
    """Compare on every case and write the figures."""
    result = {
        "command": "python -m experiments.benchmarks.plans",
        "what": "forward and backward of one population: fused against scan, alternating",
        "cases": {name: compare(name, config.rounds) for name in CASES},
        "rounds": config.rounds,
        "seed": 0,
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
        "device": jax.devices()[0].device_kind,
    }
    path = Path(config.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return result


if __name__ == "__main__":
    main(Config(**parse(Config, None, __doc__)))

"""A training step of an MLP that reads events against one that reads dense frames, in turns.

    taskset -c 0 python -m experiments.benchmarks.events

Forward, backward and Adam, the energy term on; shapes of SHD (700-128-128-20, 128 samples). Frames
are random, each input active with the same probability; `fullest` has lists as long as a set with a
few full frames needs. The forward pass of a convolution is measured too: XLA's, and one in which
each event adds a patch of the kernel to the output, as a loop over events and as a scatter. Writes
`experiments/results/benchmarks/events.json`, on which the rule `jsnn.events.choose` is based.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jsnn
from experiments.benchmarks.measuring import FOLDER, in_turns, ratio, report, seconds, spread
from experiments.config import option, parse
from jsnn.events import choose, pack
from jsnn.hardware import get
from jsnn.neurons import LIF
from jsnn.nn import forward
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective, energy_terms

SAMPLES, INPUTS, WIDTHS, CLASSES = 128, 700, (128, 128), 20


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    rounds: int = option(9, "pairs of timed calls", least=3)
    steps: tuple[int, ...] = option((100, 250), "lengths of the window")
    out: str = option(f"{FOLDER}/events.json", "where the figures go")


# name: share of inputs active in a frame, shortest list
CASES = {
    "1 %": (0.01, 0),
    "2 %": (0.02, 0),
    "5 %": (0.05, 0),
    "10 %": (0.1, 0),
    "20 %": (0.2, 0),
    "2 %, fullest 10 %": (0.02, 72),
    "2 %, fullest 30 %": (0.02, 208),
}


def times(runs: dict, rounds: int) -> tuple[dict, dict]:
    """Milliseconds of every run, and the ratio of each to `dense` within its round."""
    timers = {
        name: functools.partial(seconds, functools.partial(run, *arguments), 1)
        for name, (run, arguments) in runs.items()
    }
    rows = in_turns(timers, rounds)
    ms = {name: spread([1e3 * value for value in row]) for name, row in rows.items()}
    return ms, {name: ratio(rows, name, "dense") for name in runs if name != "dense"}


def compare(steps: int, activity: float, least: int, rounds: int) -> dict:
    """Times and memory of both methods on one case, and the ratio of each pair."""
    draw = np.random.default_rng(0)
    frames = (draw.random((steps, SAMPLES, INPUTS)) < activity).astype(np.float32)
    packed = pack(frames)
    if packed.places < least:
        packed = pack(frames, least)
    given = {"dense": jnp.asarray(frames), "events": jax.tree.map(jnp.asarray, packed)}
    labels = jnp.asarray(draw.integers(0, CLASSES, SAMPLES), jnp.int32)
    model = jsnn.models.MLP(WIDTHS, CLASSES, LIF(), input_kind="events")
    variables = model.init(jax.random.key(0), given["events"])
    params = variables["params"]
    optimiser = optax.adam(1e-3)
    objective = Objective(CrossEntropy(), get("neuromorphic-22nm"), energy_terms(0.1))
    weight = jnp.float32(0.1)
    numbers = {
        "energy": {"weight": weight, "reference": jnp.float32(1e6)},
        "dead_neurons": {"weight": weight},
    }

    def step(params, state, frames):
        def loss(params):
            passed = forward(model, {**variables, "params": params}, frames, train=True)
            return objective(passed.outputs, labels, passed.workload, params, numbers)[0]

        value, grads = jax.value_and_grad(loss)(params)
        changes, state = optimiser.update(grads, state, params)
        return value, optax.apply_updates(params, changes), state

    state = optimiser.init(params)
    runs, results = {}, {}
    for way, frames in given.items():
        runs[way] = jax.jit(step).lower(params, state, frames).compile()
        results[way] = jax.block_until_ready(runs[way](params, state, frames))
    turns = {way: (run, (params, state, given[way])) for way, run in runs.items()}
    ms, over_dense = times(turns, rounds)
    choice = choose(activity, packed.places, INPUTS, jax.default_backend())
    return {
        "steps": steps,
        "activity": activity,
        "places": packed.places,
        "ms": ms,
        "over_dense": over_dense,
        "input_mib": {
            way: sum(leaf.nbytes for leaf in jax.tree.leaves(x)) / 2**20 for way, x in given.items()
        },
        "temporaries_mib": {
            way: run.memory_analysis().temp_size_in_bytes / 2**20 for way, run in runs.items()
        },
        "loss_apart": abs(float(results["events"][0] - results["dense"][0])),
        "choice": str(choice),
    }


def convolve(activity: float, rounds: int) -> dict:
    """The forward pass of a convolution, SAME and with stride 1, three ways."""
    height, width, channels, features, count = 34, 34, 2, 32, 320
    draw = np.random.default_rng(0)
    frames = (draw.random((1, count, height, width, channels)) < activity).astype(np.float32)
    packed = pack(frames)
    numbers = jnp.asarray(packed.indices[0])
    kernel = jnp.asarray(draw.normal(size=(3, 3, channels, features)), jnp.float32)
    dense_frames = jnp.asarray(frames[0])

    def dense(kernel, frames):
        form = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(frames, kernel, (1, 1), "SAME", dimension_numbers=form)

    def places(numbers):
        row, rest = jnp.divmod(numbers, width * channels)
        return row, *jnp.divmod(rest, channels)

    def looped(kernel, numbers):
        patches = kernel[::-1, ::-1].transpose(2, 0, 1, 3)
        rows, columns, sources = places(numbers)
        lengths = (numbers < packed.size).sum(1)

        def frame(index):
            def event(place, out):
                at = (rows[index, place], columns[index, place], 0)
                there = jax.lax.dynamic_slice(out, at, (3, 3, features))
                patch = jax.lax.dynamic_index_in_dim(patches, sources[index, place], 0, False)
                return jax.lax.dynamic_update_slice(out, there + patch, at)

            out = jnp.zeros((height + 2, width + 2, features))
            return jax.lax.fori_loop(0, lengths[index], event, out)[1:-1, 1:-1]

        return jax.lax.map(frame, jnp.arange(count))

    def scattered(kernel, numbers):
        patches = kernel[::-1, ::-1].transpose(2, 0, 1, 3)
        rows, columns, sources = places(numbers)
        # Far outside the image, where an update is dropped.
        rows = jnp.where(numbers < packed.size, rows, 2 * height)
        out = jnp.zeros((count, height + 2, width + 2, features))
        for down in range(3):
            for right in range(3):
                at = jnp.arange(count)[:, None], rows + down, columns + right
                out = out.at[at].add(patches[sources, down, right], mode="drop")
        return out[:, 1:-1, 1:-1]

    given = {"dense": (dense, dense_frames), "loop": (looped, numbers)}
    given["scatter"] = (scattered, numbers)
    runs = {
        name: (jax.jit(run).lower(kernel, x).compile(), (kernel, x))
        for name, (run, x) in given.items()
    }
    results = {name: jax.block_until_ready(run(*given)) for name, (run, given) in runs.items()}
    ms, over_dense = times(runs, rounds)
    return {
        "frames": [count, height, width, channels],
        "features": features,
        "activity": activity,
        "places": packed.places,
        "ms": ms,
        "over_dense": over_dense,
        "apart": max(float(jnp.abs(x - results["dense"]).max()) for x in results.values()),
    }


def main(config: Config) -> dict:
    """Compare on every case and write the figures."""
    result = {
        "command": "python -m experiments.benchmarks.events",
        "what": "one training step of an MLP: inputs as events against dense frames, alternating",
        "network": [INPUTS, *WIDTHS, CLASSES],
        "samples": SAMPLES,
        "steps": [
            {"case": name} | compare(steps, activity, least, config.rounds)
            for steps in config.steps
            for name, (activity, least) in CASES.items()
        ],
        "convolution": [convolve(activity, config.rounds) for activity in (0.005, 0.02)],
        "rounds": config.rounds,
        "seed": 0,
    }
    report(result, config.out)
    return result


if __name__ == "__main__":
    main(Config(**parse(Config, None, __doc__)))

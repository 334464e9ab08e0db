"""Long window in chunks against the whole window, and a stream of single frames.

    python -m experiments.benchmarks.long_window

Dense 700-128-128-20 on events (2 % of inputs per step). First value and gradient of a training loss
with the energy term, for 128 samples: bytes of XLA's temporaries and time, plans in turns. Then a
stream of one sample: a frame through `jsnn.nn.stream`, through a jitted `jsnn.step`, and through a
program with the same input and output arrays that computes next to nothing. Writes
`experiments/results/benchmarks/long_window.json`.
"""

from __future__ import annotations

import dataclasses
import statistics

import jax
import jax.numpy as jnp

import jsnn
from experiments.benchmarks.measuring import FOLDER, in_turns, ratio, report, seconds
from experiments.config import check, option, parse
from jsnn.models import MLP
from jsnn.neurons import LI, LIF
from jsnn.nn import forward
from jsnn.nn.stream import make_stream
from jsnn.nn.time_plan import WHOLE, Chunked
from jsnn.readouts import PerStep
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective, energy_terms

INPUTS, WIDTHS, CLASSES, RATE = 700, (128, 128), 20, 0.02
PLANS = (WHOLE, Chunked(10), Chunked(25), Chunked(50))
NEURON, INTEGRATOR = LIF(tau_mem=20e-3), LI(tau_mem=20e-3)


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    steps: int = option(1000, "steps of the long window", least=2)
    batch: int = option(128, "samples of a training step", least=1)
    rounds: int = option(7, "timings of each, in turns", least=3)
    frames: int = option(2000, "frames of a timed slice of the stream", least=1)
    out: str = option(f"{FOLDER}/long_window.json", "where the figures go")

    def __post_init__(self):
        check(self)


def main(config: Config) -> dict:
    """Measure both and write them."""
    result = {
        "command": "python -m experiments.benchmarks.long_window",
        "what": "a long window by plan, and a stream of one sample, 700-128-128-20",
        "config": dataclasses.asdict(config),
        "window": window(config),
        "stream": stream(config),
    }
    report(result, config.out)
    return result


def window(config: Config) -> dict:
    """Temporaries and time of a training step's gradient, by plan."""
    model = MLP(WIDTHS, CLASSES, NEURON, readout_neuron=INTEGRATOR, input_kind="events", gain=0.5)
    shape = (config.steps, config.batch, INPUTS)
    frames = jax.random.bernoulli(jax.random.key(0), RATE, shape).astype(jnp.float32)
    labels = jnp.arange(config.batch) % CLASSES
    variables = model.init(jax.random.key(1), frames[:2])
    params = variables["params"]
    machine = jsnn.hardware.get("neuromorphic-22nm")
    objective = Objective(CrossEntropy(), machine, energy_terms(0.25))
    weight = jnp.float32(0.25)
    numbers = {
        "energy": {"weight": weight, "reference": jnp.float32(1e6)},
        "dead_neurons": {"weight": weight},
    }

    def loss(params, frames, plan):
        given = {**variables, "params": params}
        passed = forward(model, given, frames, train=True, plan=plan)
        return objective(passed.outputs, labels, passed.workload, params, numbers)[0]

    compiled = {
        str(plan): jax.jit(jax.value_and_grad(lambda p, x, plan=plan: loss(p, x, plan)))
        .lower(params, frames)
        .compile()
        for plan in PLANS
    }
    timers = {
        name: lambda call=call: seconds(lambda: call(params, frames), 1)
        for name, call in compiled.items()
    }
    times = in_turns(timers, config.rounds)
    return {
        name: {
            "temporary_mb": call.memory_analysis().temp_size_in_bytes / 1e6,
            "ms": 1e3 * statistics.median(times[name]),
            "of_whole": ratio(times, name, str(WHOLE))["median"],
        }
        for name, call in compiled.items()
    }


def stream(config: Config) -> dict:
    """Microseconds per frame of one sample."""
    model = MLP(WIDTHS, CLASSES, NEURON, PerStep(), INTEGRATOR, input_kind="events", gain=0.5)
    frames = jax.random.bernoulli(jax.random.key(0), RATE, (64, 1, INPUTS)).astype(jnp.float32)
    frames = [jax.device_put(frame) for frame in frames]
    variables = model.init(jax.random.key(1), frames[0][None])
    compiled = make_stream(model, variables, frames[0])
    plain = jax.jit(lambda variables, frame: jsnn.step(model, variables, frame))
    idle = jax.jit(
        lambda state, frame: ({k: v + 1 for k, v in state.items()}, frame[:, :CLASSES]),
        donate_argnums=0,
    )
    starts = {
        "stream": (compiled.step, lambda: compiled.start(frames[0])),
        "step": (plain, lambda: plain(variables, frames[0])[0]),
        "idle": (idle, lambda: compiled.start(frames[0])),
    }

    def pass_frames(step, state):
        for number in range(config.frames):
            state, out = step(state, frames[number % len(frames)])
        return out

    def timed(step, start):
        jax.block_until_ready(step(start(), frames[0]))
        state = start()
        return 1e6 * seconds(lambda: pass_frames(step, state), 1) / config.frames

    timers = {
        name: lambda step=step, start=start: timed(step, start)
        for name, (step, start) in starts.items()
    }
    times = in_turns(timers, config.rounds)
    return {f"{name}_us": statistics.median(taken) for name, taken in times.items()}


if __name__ == "__main__":
    main(Config(**parse(Config, None, __doc__)))

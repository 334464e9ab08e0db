"""One training step of BRF-36 on QTDB against a bare `lax.scan` of the same equations, in turns.

    python -m experiments.benchmarks.qtdb_step

The bare step has no layers, workloads or energies: weights in a dict, the equations of the neuron
in the scan, cross entropy at every step, AdamW. The input is random spikes of the data's shape and
rate, so no file is needed. Writes `experiments/results/benchmarks/qtdb_step.json`.
"""

from __future__ import annotations

import dataclasses
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.measuring import FOLDER, in_turns, ratio, report, seconds
from experiments.config import option, parse
from jsnn import hardware
from jsnn.data import Recorded
from jsnn.models import SRNN
from jsnn.neurons import BRF, LI
from jsnn.surrogate import DoubleGaussian
from jsnn.train.losses import EveryStep
from jsnn.train.objective import Objective, energy_terms
from jsnn.train.optimiser import make_optimiser
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_train_step

STEPS, BATCH, CHANNELS, WIDTH, CLASSES, RATE = 1300, 16, 4, 36, 6, 0.076
DT_S, TAU_S = 4e-3, 80e-3


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    rounds: int = option(15, "pairs of timed slices", least=3)
    slice: int = option(3, "steps in a slice", least=1)
    out: str = option(f"{FOLDER}/qtdb_step.json", "where the figures go")


def bare_step(params, optimiser):
    """State and jitted training step without jsnn."""
    spike = DoubleGaussian()

    def forward(p, frames):
        omega, b_offset = jnp.abs(p["omega"]), jnp.abs(p["b_offset"])
        bound = (-1 + jnp.sqrt(1 - jnp.square(0.01 * omega))) / 0.01
        alpha = jnp.exp(-DT_S / p["tau"])

        def step(carry, current):
            u, v, q, z, out = carry
            current = current + z @ p["recurrent"]
            b = bound - b_offset - q
            u, v = u + 0.01 * (b * u - omega * v + current), v + 0.01 * (omega * u + b * v)
            z = spike(u - 1 - q, True)
            q = 0.9 * q + z
            out = alpha * out + (1 - alpha) * (z @ p["out"])
            return (u, v, q, z, out), out

        zero = jnp.zeros((BATCH, WIDTH))
        start = (zero, zero, zero, zero, jnp.zeros((BATCH, CLASSES)))
        return jax.lax.scan(step, start, frames @ p["in"])[1]

    def step(state, frames, labels):
        params, opt_state = state

        def loss(p):
            logits = forward(p, jnp.moveaxis(frames.astype(jnp.float32), 1, 0))
            entropy = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels.T)
            return entropy.mean()

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = optimiser.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    return (params, optimiser.init(params)), jax.jit(step, donate_argnums=0)


def main(config: Config) -> dict:
    """Time both in turns, and write the medians."""
    draw = np.random.default_rng(0)
    frames = jnp.asarray(draw.random((BATCH, STEPS, CHANNELS)) < RATE, jnp.int8)
    labels = jnp.asarray(draw.integers(0, CLASSES, (BATCH, STEPS)), jnp.int32)

    model = SRNN(
        (WIDTH,),
        CLASSES,
        neuron=BRF(),
        readout_neuron=LI(tau_mem=TAU_S, dt=DT_S, trainable=("tau_mem",)),
        use_bias=False,
    )
    encoder, index = Recorded(), np.arange(BATCH)
    objective = Objective(EveryStep(), hardware.get("neuromorphic-22nm"), energy_terms(0.1))
    # As trained on QTDB (`experiments.recipes`).
    scales = {"time_constants": 0.05, "frequencies": 0.25}
    optimiser = make_optimiser(0.1, 10_000, schedule="linear", scales=scales)
    state = init_state(model, optimiser, encoder(jax.random.key(0), frames[:1]), seed=0)
    state, _ = start_terms(state, model, objective, encoder, frames)
    step = make_train_step(model, objective, optimiser, encoder)

    tree = jax.tree.map(jnp.copy, state.variables)
    hidden, readout = tree["params"]["hidden_0"], tree["params"]["readout"]
    constants = {name: layer["neuron"] for name, layer in tree["constants"].items()}
    weights = {
        "in": hidden["synapse"]["kernel"],
        "recurrent": hidden["recurrent"],
        "out": readout["synapse"]["kernel"],
        "omega": constants["hidden_0"]["omega"],
        "b_offset": constants["hidden_0"]["b_offset"],
        "tau": constants["readout"]["tau_mem"],
    }
    bare, plain = bare_step(weights, optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)))

    def one_of_ours():
        nonlocal state
        state, terms = step(state, (frames, labels), index)
        return terms["loss"]

    def one_of_theirs():
        nonlocal bare
        bare, loss = plain(bare, frames, labels)
        return loss

    first = float(one_of_ours()), float(one_of_theirs())
    timers = {
        "jsnn": lambda: seconds(one_of_ours, config.slice),
        "bare": lambda: seconds(one_of_theirs, config.slice),
    }
    rows = in_turns(timers, config.rounds)
    result = {
        "command": "python -m experiments.benchmarks.qtdb_step",
        "what": "training step of BRF-36, T = 1300, B = 16, energy term on, against a bare scan",
        "jsnn_ms": 1e3 * statistics.median(rows["jsnn"]),
        "bare_ms": 1e3 * statistics.median(rows["bare"]),
        "ratio": ratio(rows, "jsnn", "bare"),
        "first_loss": {"jsnn_with_energy_term": first[0], "bare": first[1]},
        "rounds": config.rounds,
        "slice": config.slice,
    }
    report(result, config.out)
    return result


if __name__ == "__main__":
    main(Config(**parse(Config, None, __doc__)))

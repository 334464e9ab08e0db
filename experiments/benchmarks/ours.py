"""Workloads in jsnn: a training step with and without the energy term, and a stream.

The step is cross entropy + 0.1 x energy term with the energy estimate on `neuromorphic-22nm`,
counted from records per sample, backward, Adam on the weights. `bare` is that step without energy
term and records, over the whole window; `forward` gives only the loss. The neurons subtract the
threshold where they spike, before the next decay, with a detached reset and the surrogate 1 / (1 +
25 |x|)^2.
"""

from __future__ import annotations

import functools
import math
import time
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jsnn
from experiments.benchmarks import workloads
from experiments.benchmarks.contestant import Contestant
from experiments.benchmarks.workloads import BETA, DT_S, THRESHOLD, Stage, Workload
from jsnn.events import pack
from jsnn.neurons import ALIF, LI, LIF
from jsnn.nn import forward, run
from jsnn.nn.layers import Flatten, Network, Pool, Spiking
from jsnn.nn.stream import make_stream
from jsnn.nn.synapses import Conv
from jsnn.nn.time_plan import WHOLE, Chunked, TimePlan
from jsnn.readouts import MeanMembrane, PerStep, SpikeCount
from jsnn.surrogate import Scaled, SuperSpike
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective, energy_terms
from jsnn.unroll import PLANS as POPULATION_PLANS

MACHINE, ENERGY_WEIGHT = "neuromorphic-22nm", 0.1
TAU_S = -DT_S / math.log(BETA)

DEFAULT, EVENTS, CHUNKED = "default", "events", "chunked:"
PLANS = (DEFAULT, *POPULATION_PLANS, EVENTS, CHUNKED + "<steps>")


class Plans(NamedTuple):
    """Execution plans of a workload.

    Attributes:
        population: plan of the hidden populations; None: by rule.
        window: plan of the window.
        events: whether inputs come as lists of events (`jsnn.events`).
    """

    population: str | None = None
    window: TimePlan = WHOLE
    events: bool = False


def plans(mode: str) -> Plans:
    """Plans by their names, joined by `+`.

    Raises:
        ValueError: no such plan.

    >>> plans("fused+chunked:25")
    Plans(population='fused', window=Chunked(steps=25), events=False)
    """
    population, window, events = Plans()
    for part in mode.split("+"):
        steps = part.removeprefix(CHUNKED)
        if part in POPULATION_PLANS:
            population = part
        elif part == EVENTS:
            events = True
        elif steps != part and steps.isdigit():
            window = Chunked(int(steps))
        elif part != DEFAULT:
            raise ValueError(f"unknown plan {part!r}; jsnn has {', '.join(PLANS)}, joined by +")
    return Plans(population, window, events)


def network(workload: Workload, streaming: bool = False, plan: str | None = None) -> nn.Module:
    """The workload's network in jsnn; if streaming, its readout gives every step."""
    layers = []
    last = workload.synapses[-1]
    # Input kind of the first synapse; a pool of four spikes gives quarters.
    events = "events" if workload.density is not None else "analog"
    kind, unit = ("constant" if workload.still else events), 1.0
    for stage in workload.stages:
        if stage.kind == "pool":
            layers.append(Pool("average", 2))
            unit = unit / 4
        elif stage.kind == "flatten":
            layers.append(Flatten())
        else:
            fold = _readout(stage, streaming) if stage is last else None
            own = None if stage is last else plan
            layers.append(_layer(stage, kind, unit, fold, own))
            kind, unit = "spikes", 1.0
    return Network(tuple(layers))


def make(workload: Workload, plan: str, device: str) -> Contestant:
    """The contestant, each of its calls compiled on first use.

    Raises:
        ValueError: no such plan, or events for a workload without any.
    """
    population, window, events = plans(plan)
    first = workload.stages[0]
    if events and (workload.density is None or first.kind != "dense" or workload.name == "stream"):
        raise ValueError(
            f"{workload.name} has no input spikes for a dense layer: leave {EVENTS} away"
        )
    data, labels = workloads.inputs(workload)
    if workload.still:
        data = jnp.broadcast_to(data, (workload.steps, *data.shape))
    frames = jax.tree.map(jnp.asarray, pack(data) if events else data)
    labels = jnp.asarray(labels, jnp.int32)
    if workload.name == "stream":
        return _stream(workload, frames)
    model = network(workload, plan=population)
    variables = _variables(model, frames[:1], workload)
    optimiser = optax.adam(workloads.LEARNING_RATE)
    mean = 1 / workload.steps if workload.stages[-1].neurons == "lif" else 1.0
    objective = Objective(CrossEntropy(), jsnn.hardware.get(MACHINE), energy_terms(ENERGY_WEIGHT))
    trained = variables["params"]

    def full(trained, frames, reference_pj):
        given = {**variables, "params": trained}
        passed = forward(model, given, frames, train=True, plan=window)
        weight = jnp.float32(ENERGY_WEIGHT)
        numbers = {
            "energy": {"weight": weight, "reference": reference_pj},
            "dead_neurons": {"weight": weight},
        }
        return objective(mean * passed.outputs, labels, passed.workload, trained, numbers)[0]

    def plain(trained, frames, _=None):
        outputs = model.apply({**variables, "params": trained}, frames, True)
        return CrossEntropy()(mean * outputs, labels).mean()

    def update(loss, state, frames, reference_pj):
        trained, moments = state
        value, grads = jax.value_and_grad(loss)(trained, frames, reference_pj)
        changes, moments = optimiser.update(grads, moments, trained)
        return (optax.apply_updates(trained, changes), moments), value

    def energy_pj(variables, frames):
        workload = run(model, variables, frames)[1]
        return jsnn.estimate_energy(workload, objective.hardware).total_pj().mean()

    info = {"energy": MACHINE}

    def stepper(loss, note):
        state = jax.tree.map(jnp.copy, (trained, optimiser.init(trained)))
        compiled = None

        def one():
            nonlocal state, compiled
            if compiled is None:
                started = time.perf_counter()
                jitted = jax.jit(functools.partial(update, loss), donate_argnums=0)
                compiled = jitted.lower(state, frames, reference_pj).compile()
                info[f"{note}_compile_s"] = time.perf_counter() - started
                memory = compiled.memory_analysis()
                info[f"{note}_temporaries_mb"] = memory.temp_size_in_bytes / 2**20
            state, value = compiled(state, frames, reference_pj)
            return float(value)

        return one

    reference_pj = jnp.asarray(jax.jit(energy_pj)(variables, frames), jnp.float32)
    judged = jax.jit(plain)
    return Contestant(
        info=info,
        calls={
            "step": stepper(full, "step"),
            "bare": stepper(plain, "bare"),
            "forward": lambda: float(judged(trained, frames)),
        },
    )


def _stream(workload: Workload, frames) -> Contestant:
    model = network(workload, streaming=True)
    variables = _variables(model, frames, workload)
    stream = make_stream(model, variables, frames[0])
    state = stream.start(frames[0])
    # On the host, as from a sensor: indexing on the device would be timed too.
    frame = np.asarray(frames[0])

    def one():
        nonlocal state
        state, outputs = stream.step(state, frame)
        return float(np.asarray(outputs)[0, 0, 0])

    return Contestant(info={}, calls={"stream": one})


def _layer(stage: Stage, kind: str, unit: float, readout, plan: str | None) -> Spiking:
    if stage.kind == "conv":
        synapse = Conv(stage.outputs, (3, 3), use_bias=False, parent=None)
    else:
        synapse = nn.Dense(stage.outputs, use_bias=False, parent=None)
    return Spiking(
        synapse,
        _neuron(stage),
        input_kind=kind,
        input_unit=unit,
        recurrent=stage.neurons == "adaptive",
        readout=readout,
        plan=plan,
    )


def _neuron(stage: Stage):
    if stage.neurons == "lif":
        surrogate = SuperSpike(workloads.SLOPE)
        return LIF(tau_mem=TAU_S, strict=True, detach_reset=True, surrogate=surrogate)
    if stage.neurons == "adaptive":
        # Its current is scaled by 1 - decay, and so are threshold and surrogate here.
        gain, memory = 1 - BETA, 1 - workloads.ADAPTATION_DECAY
        return ALIF(
            tau_mem=TAU_S,
            tau_adp=-DT_S / math.log(workloads.ADAPTATION_DECAY),
            v_threshold=gain * THRESHOLD,
            beta=gain * workloads.ADAPTATION / memory,
            detach_reset=True,
            surrogate=Scaled(SuperSpike(workloads.SLOPE / gain), 1 / gain),
            # Constants are not trained, as in the peers.
            trainable=(),
        )
    # A mean of currents is read by an integrator too: ten outputs.
    return LI(tau_mem=TAU_S, scale_input=False)


def _readout(stage: Stage, streaming: bool):
    if streaming:
        return PerStep()
    return SpikeCount() if stage.neurons == "lif" else MeanMembrane()


def _variables(model: nn.Module, frames, workload: Workload) -> dict:
    """Initial variables, with the workload's weights in place of the drawn ones."""
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    params = {name: dict(layer) for name, layer in variables["params"].items()}
    arrays = iter(workloads.weights(workload))
    for number, stage in enumerate(workload.stages):
        if stage.kind in ("dense", "conv"):
            layer = params[f"layers_{number}"]
            layer["synapse"] = {"kernel": jnp.asarray(next(arrays))}
            if stage.neurons == "adaptive":
                layer["recurrent"] = jnp.asarray(next(arrays))
    return {**variables, "params": params}

"""Early exit: each sample stops once it is confident, and is charged for its own steps only.

    k = first step whose confidence exceeds the threshold, else T;   energy = energy of k steps

One pass gives the answers of the network after every step and its workload up to there. The energy
of each number of steps follows on any machine, and any number of thresholds can be tried without
another pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jsnn.energy import estimate_layers
from jsnn.events.event_value import outside
from jsnn.hardware import Hardware
from jsnn.nn import as_workload, records
from jsnn.nn.causal import causal
from jsnn.nn.layers import START, STATE, WORKLOAD
from jsnn.train.levers import Lever, price
from jsnn.workload import ByStep, LayerWorkload, Stored, Workload
from jsnn.workload.truncation import truncate

__all__ = [
    "RULES",
    "Rule",
    "TradeOff",
    "answers_by_step",
    "choose",
    "energy_by_step",
    "exit_steps",
    "grid",
    "stopped",
    "trade_off",
    "with_check",
]


class Rule(NamedTuple):
    """A measure of the confidence of an answer.

    Attributes:
        confidence: logits `[..., C]` to `[...]`.
        compares: comparisons per class and step that it needs, to find the largest logits.
        free: its further operations, which are not priced; empty if there are none.
    """

    confidence: Callable[[jax.Array], jax.Array]
    compares: int
    free: str


def _gap(outputs: jax.Array) -> jax.Array:
    best = jax.lax.top_k(outputs, 2)[0]
    return best[..., 0] - best[..., 1]


def _certainty(outputs: jax.Array) -> jax.Array:
    logs = jax.nn.log_softmax(outputs)
    return 1 + (jnp.exp(logs) * logs).sum(-1) / np.log(outputs.shape[-1])


# softmax: the largest probability (SEENN-I); entropy: 1 - H / ln C (DT-SNN); margin: between the
# two largest probabilities; gap: between the two largest logits, which takes comparisons only.
RULES: dict[str, Rule] = {
    "softmax": Rule(lambda outputs: jax.nn.softmax(outputs).max(-1), 1, "softmax"),
    "entropy": Rule(_certainty, 0, "softmax and entropy"),
    "margin": Rule(lambda outputs: _gap(jax.nn.softmax(outputs)), 2, "softmax"),
    "gap": Rule(_gap, 2, ""),
}


def answers_by_step(
    model: nn.Module, variables: Mapping[str, Any], frames: jax.Array
) -> tuple[jax.Array, Workload]:
    """Run a network once: `[T, B, C]` answers after 1 to T steps, and the workload of each step.

    Frame after frame, in evaluation mode. The workload is that of `jsnn.run` with all counts per
    step, so that `jsnn.workload.truncation.truncate` is exact for every network. The answer of a
    readout of every step (`PerStep`) is its mean up to that step.

    Args:
        model: of causal layers; a `Levered` network runs under its levers, except for their effect
            on outputs, which needs the whole window.
        variables: what `model.init` returned, or trained since.
        frames: `[T, B, ...]`.

    Raises:
        ValueError: a layer that cannot be fed in pieces (see `jsnn.nn.causal`).

    >>> import jsnn
    >>> model, frames = jsnn.models.MLP((16,), 3), jnp.ones((5, 2, 8))
    >>> variables = model.init(jax.random.key(0), frames)
    >>> outputs, workload = answers_by_step(model, variables, frames)
    >>> short, _ = jsnn.run(model, variables, frames[:3])
    >>> outputs.shape, bool(jnp.allclose(outputs[2], short, atol=1e-6))
    ((5, 2, 3), True)
    """
    clean = {name: tree for name, tree in variables.items() if name not in (WORKLOAD, STATE)}
    length = len(frames)

    network = getattr(model, "in_pieces", model)

    def piece(given, cut, *mutable):
        with causal(length):
            return network.apply({**clean, **given}, outside(cut), False, mutable=mutable)

    # Only the initial states of this call are used; under jit the rest is never computed.
    probed, begun = piece({}, frames[:1], START, WORKLOAD)
    layers = records(begun[WORKLOAD])
    first = begun.get(START, {}), jax.tree.map(jnp.zeros_like, _ends(layers))

    def advance(carry, frame):
        state, ends = carry
        out, changed = piece(
            {STATE: state}, jax.tree.map(lambda leaf: leaf[None], frame), STATE, WORKLOAD
        )
        pairs = records(changed[WORKLOAD])
        ends = jax.tree.map(jnp.add, ends, _ends(pairs))
        return (changed.get(STATE, {}), ends), (out, [_step(layer) for layer in pairs])

    (_, ends), (outputs, steps) = jax.lax.scan(advance, first, frames)
    if probed.ndim == 3:
        outputs = jnp.cumsum(outputs[:, 0], 0) / jnp.arange(1, length + 1)[:, None, None]
    pairs = zip(layers, ends, steps, strict=True)
    return outputs, as_workload([_whole(*each, length) for each in pairs])


def _ends(layers: Sequence[LayerWorkload]) -> list[jax.Array]:
    """Spikes that each neuron sent, summed over time only."""
    return [layer.spikes for layer in layers]


class _Step(NamedTuple):
    """One step of a layer; `met` counts operands that were active for the first time."""

    by_step: ByStep
    met: jax.Array


def _step(layer: LayerWorkload) -> _Step:
    nothing = jnp.zeros_like(layer.recurrent_events)
    stored = layer.stored or Stored(nothing, nothing, nothing)
    by_step = ByStep(
        events_by_fan_out=layer.events_by_fan_out,
        recurrent_events=layer.recurrent_events,
        stored=stored.spikes,
        active=layer.active,
        spikes=layer.output_events,
        coincidences=stored.coincidences,
        by_input=layer.by_input,
    )
    return _Step(by_step, stored.active)


def _whole(layer: LayerWorkload, spikes: jax.Array, steps: _Step, length: int) -> LayerWorkload:
    by_step, met = jax.tree.map(lambda each: jnp.moveaxis(each, 0, 1), steps)
    total = jax.tree.map(lambda each: each.sum(1), by_step)
    stored = Stored(total.stored, met.sum(1), total.coincidences)
    return dataclasses.replace(
        layer,
        events_by_fan_out=total.events_by_fan_out,
        active=total.active,
        recurrent_events=total.recurrent_events,
        by_input=total.by_input,
        spikes=spikes,
        steps=length,
        stored=None if layer.stored is None else stored,
        by_step=by_step,
    )


def energy_by_step(
    workload: Workload, hardware: Hardware, levers: Sequence[Lever] = (), params: Any = None
) -> jax.Array:
    """`[T, B]` pJ of each sample if it stopped after 1 to T steps.

    Exact where `jsnn.workload.truncation.taken_at_rates` names nothing, as for the workload from
    `answers_by_step`. Lists of pruned weights are then as exact as those of a whole window
    (`jsnn.codesign.pruning.sizes.listed`), since that workload has the source of events per step.

    Args:
        workload: of a run over T steps.
        hardware: the machine that it runs on.
        levers: of the network (`jsnn.train.levers`).
        params: of a `Levered` network; only levers read them.

    >>> import jsnn
    >>> model, frames = jsnn.models.MLP((16,), 3), jnp.ones((5, 2, 8))
    >>> variables = model.init(jax.random.key(0), frames)
    >>> machine = jsnn.hardware.get("neuromorphic-22nm")
    >>> pj = energy_by_step(answers_by_step(model, variables, frames)[1], machine)
    >>> pj.shape, bool((jnp.diff(pj, axis=0) > 0).all())
    ((5, 2), True)
    """

    def one(steps):
        pairs = price(levers, params, truncate(workload, steps), hardware)
        return estimate_layers(pairs).total_pj()

    return jax.lax.map(one, jnp.arange(1, workload.layers[0].steps + 1))


def with_check(workload: Workload, rule: str) -> Workload:
    """The workload with the comparisons of a rule in every step added to its last layer.

    Those of each class, and one with the threshold, priced as comparisons of a neuron. Operations
    of the rule that are not priced are in `RULES[rule].free`.

    >>> from jsnn.workload.analytic import dense
    >>> work = Workload((dense(8, 3, steps=5, rate=0.1),))
    >>> found = with_check(work, "gap").layers[0].geometry.ops.compares
    >>> round(3 * (found - work.layers[0].geometry.ops.compares))
    7
    """
    *front, last = workload
    g = last.geometry
    ops = g.ops._replace(compares=g.ops.compares + _rule(rule).compares + 1 / g.neurons)
    last = dataclasses.replace(last, geometry=dataclasses.replace(g, ops=ops))
    return dataclasses.replace(workload, layers=(*front, last))


def exit_steps(confidence: jax.Array, threshold: jax.Array | float) -> jax.Array:
    """`[B]` steps after which samples stop: the first with confidence above the threshold, else T.

    >>> exit_steps(jnp.array([[0.2, 0.9], [0.8, 0.9], [0.3, 0.9]]), 0.5)
    Array([2, 1], dtype=int32)
    """
    sure = confidence > threshold
    return jnp.where(sure.any(0), sure.argmax(0) + 1, len(sure)).astype(jnp.int32)


def stopped(values: jax.Array, steps: jax.Array) -> jax.Array:
    """The entries of `[T, B, ...]` at each sample's last step, `[B, ...]`.

    >>> stopped(jnp.array([[1, 2], [3, 4]]), jnp.array([2, 1]))
    Array([3, 2], dtype=int32)
    """
    return jnp.asarray(values)[steps - 1, jnp.arange(len(steps))]


class TradeOff(NamedTuple):
    """Results of early exit at each of n thresholds, `[n]` each.

    Attributes:
        thresholds: of the confidence; at infinity no sample stops early.
        accuracy: share of correct answers.
        steps: mean number of steps.
        pj: mean energy of a sample.
        histogram: `[n, T]` samples that stop after 1 to T steps.
    """

    thresholds: jax.Array
    accuracy: jax.Array
    steps: jax.Array
    pj: jax.Array
    histogram: jax.Array


def trade_off(
    outputs: jax.Array,
    labels: jax.Array,
    pj: jax.Array,
    rule: str,
    thresholds: Sequence[float] | jax.Array,
) -> TradeOff:
    """Accuracy, mean steps and mean energy at each threshold.

    Args:
        outputs: `[T, B, C]` answers after every step, from `answers_by_step`.
        labels: `[B]`.
        pj: `[T, B]`, from `energy_by_step`.
        rule: one of `RULES`.
        thresholds: `[n]`.

    Raises:
        ValueError: an unknown rule; shapes that do not fit each other.

    Source: Li et al. 2023 (SEENN, 2304.01230); Li et al. 2023 (DT-SNN, 2305.17346): cumulative
    logits and a threshold on their confidence.

    >>> outputs = jnp.array([[[0.0, 1.0], [2.0, 0.0]], [[3.0, 0.0], [4.0, 0.0]]])
    >>> labels, pj = jnp.array([0, 0]), jnp.array([[1.0, 1.0], [2.0, 2.0]])
    >>> found = trade_off(outputs, labels, pj, "gap", [0.5, 1.5, jnp.inf])
    >>> found.accuracy.tolist(), found.steps.tolist(), found.pj.tolist()
    ([0.5, 1.0, 1.0], [1.0, 1.5, 2.0], [1.0, 1.5, 2.0])
    """
    exit_rule = _rule(rule)
    if outputs.ndim != 3 or not outputs.shape[:2] == pj.shape or labels.shape != pj.shape[1:]:
        raise ValueError(
            f"expected outputs [T, B, C], labels [B] and energies [T, B], found "
            f"{list(outputs.shape)}, {list(labels.shape)} and {list(pj.shape)}"
        )
    confidence, right = exit_rule.confidence(outputs), outputs.argmax(-1) == labels

    def at(threshold):
        steps = exit_steps(confidence, threshold)
        histogram = (steps == jnp.arange(1, len(outputs) + 1)[:, None]).sum(1)
        return TradeOff(
            threshold,
            stopped(right, steps).mean(),
            steps.mean(),
            stopped(pj, steps).mean(),
            histogram,
        )

    return jax.lax.map(at, jnp.asarray(thresholds, confidence.dtype))


def grid(confidence: jax.Array, size: int) -> jax.Array:
    """`[size + 1]` thresholds to try: quantiles of all confidences, and infinity.

    >>> grid(jnp.array([[0.1, 0.3], [0.2, 0.5]]), 3).tolist()
    [0.10000000149011612, 0.25, 0.5, inf]
    """
    quantiles = jnp.quantile(confidence.ravel(), jnp.linspace(0, 1, size))
    return jnp.append(quantiles, jnp.inf)


def choose(trade: TradeOff, loss: float = 0.0) -> int:
    """Index of the cheapest threshold whose accuracy is at most `loss` below that of all steps.

    Choose on other samples than those reported. Of equally cheap thresholds the highest is taken.

    Args:
        found: must contain a threshold of infinity, which nothing exceeds.
        loss: share of correct answers that may be lost.

    Raises:
        ValueError: a negative loss, or no threshold of infinity.

    >>> nothing = jnp.zeros((3, 2))
    >>> rows = [0.5, 0.9, jnp.inf], [0.8, 0.9, 0.9], [1.0, 1.5, 2.0], [1.0, 1.5, 2.0]
    >>> choose(TradeOff(*map(jnp.array, rows), nothing))
    1
    """
    if not loss >= 0:
        raise ValueError(f"expected a loss of accuracy of 0 or more, found {loss}")
    thresholds, accuracy, _, pj, _ = map(np.asarray, trade)
    if not np.isposinf(thresholds).any():
        raise ValueError("expected a threshold of infinity among those tried: the run of all steps")
    least = accuracy[np.isposinf(thresholds).argmax()] - loss
    # Tolerance for the rounding of shares.
    fits = accuracy >= least - 1e-6
    cheapest = pj[fits].min()
    return int(np.flatnonzero(fits & (pj <= cheapest)).max())


def _rule(name: str) -> Rule:
    if name not in RULES:
        raise ValueError(f"expected a rule of {sorted(RULES)}, found {name!r}")
    return RULES[name]

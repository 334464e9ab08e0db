"""Diagnosis of a finished run: what training saved, and which neurons are silent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jsnn.energy import dataflow_text, left_out_lines
from jsnn.nn.layers import WORKLOAD, Spiking
from jsnn.train.budget import RESOURCES
from jsnn.units import energy_text, text

__all__ = ["describe", "silent_layers", "spike_trains", "thresholds"]

_INTERMEDIATES = "intermediates"
_CALL = "__call__"
# Share of silent neurons in a layer above which there is a warning.
_SILENT_SHARE = 0.5
# Factor on thresholds above which the budget was met by thresholds rather than by training.
_LARGE_FACTOR = 1.25

_NEEDED = (
    "config",
    "test_accuracy",
    "test_accuracy_at_weight_bits",
    "test_majority",
    "initial_pj",
    "total_pj",
    "spike_independent_pj",
    "spike_dependent_pj",
    "qnn_pj",
    "energy_ratio",
    "op_count_pj",
    "layers",
    "spikes",
    "spike_rates",
    "silent_layers",
    "constants",
    "unpriced",
)


def silent_layers(
    names: Sequence[str], ever: Sequence[Any], spiking: Sequence[bool]
) -> dict[str, dict[str, int]]:
    """Number of neurons that never fired, for each layer whose neurons can fire.

    silent_l = #{n : ever_ln = 0}

    Args:
        names: of the layers.
        ever: for each layer, the spikes of each neuron over a whole set, any shape.
        spiking: for each layer, whether its neurons can fire (`Geometry.spiking`); a leaky readout,
            which never does, is left out.

    Returns:
        `{name: {"neurons": ..., "silent": ...}}`, ready for JSON.

    Raises:
        ValueError: sequences of unequal lengths, or counts that are negative or not finite.

    >>> silent_layers(["hidden", "readout"], [[3, 0, 0, 1], [0, 0]], [True, False])
    {'hidden': {'neurons': 4, 'silent': 2}}
    """
    if not len(names) == len(ever) == len(spiking):
        raise ValueError(
            "expected one entry of names, ever and spiking for each layer, "
            f"got {len(names)}, {len(ever)} and {len(spiking)}"
        )
    counts = {}
    for name, spikes, fires in zip(names, ever, spiking, strict=True):
        spikes = np.asarray(spikes)
        if not np.all(np.isfinite(spikes) & (spikes >= 0)):
            raise ValueError(f"layer {name!r}: expected finite spike counts of at least 0")
        if fires:
            counts[name] = {"neurons": int(spikes.size), "silent": int((spikes == 0).sum())}
    return counts


def spike_trains(
    model: nn.Module, variables: Mapping[str, Any], frames: jax.Array
) -> dict[str, jax.Array]:
    """Spikes of every hidden layer, step by step.

    Layers with a readout return its result instead of spikes and are left out.

    Args:
        model: a linen module of `jsnn.nn.layers.Spiking` layers, called as `model(frames, train)`.
        variables: of the model.
        frames: `[T, B, ...]`.

    Returns:
        `{name of the layer: [T, B, N]}` in execution order, images flattened.
        The names are those of `jsnn.run`'s workload.

    Raises:
        ValueError: no layer returned spikes.

    >>> import jax.numpy as jnp, jsnn
    >>> model, frames = jsnn.models.MLP((16,), 3), jnp.ones((5, 2, 8))
    >>> trains = spike_trains(model, model.init(jax.random.key(0), frames), frames)
    >>> {name: spikes.shape for name, spikes in trains.items()}
    {'hidden_0': (5, 2, 16)}
    """

    def hidden(module: nn.Module, method: str) -> bool:
        return isinstance(module, Spiking) and module.readout is None and method == _CALL

    # Records of an earlier pass must not be taken for records of this one.
    stale = (_INTERMEDIATES, WORKLOAD)
    clean = {name: tree for name, tree in variables.items() if name not in stale}
    names: list[str] = []

    # Compiled: run operation by operation, it takes seconds to start.
    @jax.jit
    def captured(variables, frames):
        _, changed = model.apply(
            variables, frames, False, mutable=[_INTERMEDIATES], capture_intermediates=hidden
        )
        trains = dict(_captured(changed.get(_INTERMEDIATES, {}), ()))
        # Dicts come back from a compiled function with sorted keys.
        names.extend(trains)
        return list(trains.values())

    trains = dict(zip(names, captured(clean, frames), strict=True))
    if not trains:
        raise ValueError(
            f"{type(model).__name__} has no hidden spiking layer: "
            "expected a jsnn.nn.layers.Spiking without a readout"
        )
    return trains


def _captured(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, jax.Array]]:
    for key, branch in tree.items():
        if isinstance(branch, Mapping):
            yield from _captured(branch, (*path, key))
            continue
        for use, spikes in enumerate(branch):
            name = "/".join(path) or "layer"
            flat = spikes.reshape(*spikes.shape[:2], -1)
            yield (f"{name}#{use + 1}" if use else name), flat


def describe(result: Mapping[str, Any]) -> list[str]:
    """Summary of a run, line by line.

    Accuracy; the energy estimate before and after training; spike-independent and spike-dependent
    energy; the energy estimate against the operation count and the QNN; whether a budget is met;
    rates; provenance; silent layers.

    The spike-independent energy is that of the evaluated set, for the network at initialisation
    too. The share of the spike-dependent energy that remains is therefore
    (total - spike-independent energy) / (initial - spike-independent energy).

    Args:
        result: the result of a run, as `experiments.train` writes it.

    Raises:
        ValueError: entries are missing.
    """
    missing = [name for name in _NEEDED if name not in result]
    if missing:
        raise ValueError(f"not the result of a run: it has no {', '.join(missing)}")
    lines = [_accuracy(result), *_dead(result["silent_layers"]), *_energy(result)]
    lines += _budget(result.get("budget"))
    lines += [_rates(result), *_dataflows(result.get("dataflows", {})), *_provenance(result)]
    lines += left_out_lines(tuple(result.get("left_out", ())))
    return lines + _warnings(result["silent_layers"])


def _accuracy(result: Mapping[str, Any]) -> str:
    rounded = result["test_accuracy_at_weight_bits"]
    return (
        f"Test accuracy {result['test_accuracy']:.2%}; {rounded['accuracy']:.2%} with weights "
        f"rounded to {rounded['weight_bits']} bits; {result['test_majority']:.2%} by always "
        "answering the commonest class."
    )


def _dead(silent: Mapping[str, Mapping[str, int]]) -> list[str]:
    if not silent or any(count["silent"] < count["neurons"] for count in silent.values()):
        return []
    return [
        "DEAD: none of the hidden neurons fired on the whole test set, so the network tells "
        "nothing apart; the energies below are those of silence."
    ]


def _times(factor: float) -> str:
    """A factor of at least one as text, its distance from one to three digits.

    >>> _times(5.432), _times(1.0041)
    ('5.43x', '1.004x')
    """
    return f"{factor:.3g}x" if factor >= 1.05 else f"{factor:.4g}x"


def _energy(result: Mapping[str, Any]) -> Iterator[str]:
    initial, total, independent = (
        result[f"{name}_pj"] for name in ("initial", "total", "spike_independent")
    )
    factor = initial / total if initial >= total else total / initial
    yield (
        f"Energy estimate on {result['config']['hardware']}, per inference: {energy_text(initial)} "
        f"before training -> {energy_text(total)} after, {_times(factor)} "
        f"{'less' if initial >= total else 'more'}."
    )
    spike_dependent_pj = result["spike_dependent_pj"]
    paid = ""
    if initial > independent:
        share = spike_dependent_pj / (initial - independent)
        paid = f", {share:.1%} of what was spike-dependent before training"
    yield (
        f"Spike-independent energy, with no hidden spike at all: {energy_text(independent)}. "
        f"Still spike-dependent: {energy_text(spike_dependent_pj)}{paid}."
    )
    ratio = result["energy_ratio"]
    yield (
        f"Three numbers: operation count {energy_text(result['op_count_pj'])} (synapses only) | "
        f"energy estimate {energy_text(total)} | QNN {energy_text(result['qnn_pj'])}."
    )
    verdict = "it loses" if ratio > 1 else "it wins" if ratio < 1 else "it is a draw"
    yield f"The spiking network costs {ratio:.3g}x its QNN: {verdict}."


def _budget(budget: Mapping[str, Any] | None) -> Iterator[str]:
    if budget is None:
        return
    for name, usage in budget["limits"].items():
        kind = RESOURCES[name]
        splits = ", ".join(
            f"{split} {text(usage[split], kind)} "
            f"({abs(usage['margin'][split]):.1%} {'below' if usage['feasible'][split] else 'OVER'})"
            for split in ("train", "validation", "test")
        )
        yield (
            f"Budget of {kind} {text(usage['limit'], kind)}: {splits}; spike-independent energy "
            f"{text(usage['spike_independent'], kind)}; multiplier {usage['multiplier']:.3g}."
        )
    yield thresholds(budget)
    if budget["dead_layers"]:
        yield (
            f"DEAD on the training samples: {', '.join(budget['dead_layers'])}; accuracy and "
            "energies above are those of a dead network."
        )


def thresholds(budget: Mapping[str, Any]) -> str:
    """The change that a budget made to the thresholds of a trained network, and to its accuracy.

    Args:
        budget: the entry `budget` of a result.

    >>> budget = {"threshold_factor": 1.5, "accuracy": {"validation": 0.81},
    ...     "accuracy_as_trained": {"validation": 0.93}}
    >>> print(thresholds(budget))
    Thresholds 1.5 times as high as trained: accuracy 93.0% before and 81.0% after on validation.
    So large a factor costs accuracy that training would keep: raise the budget or train longer.
    """
    factor = budget["threshold_factor"]
    if factor == 1:
        return "Thresholds as trained."
    before, after = budget["accuracy_as_trained"], budget["accuracy"]
    splits = ", ".join(f"{before[s]:.1%} before and {after[s]:.1%} after on {s}" for s in after)
    line = f"Thresholds {factor:.3g} times as high as trained: accuracy {splits}."
    if max(factor, 1 / factor) <= _LARGE_FACTOR:
        return line
    return (
        f"{line} So large a factor costs accuracy that training would keep: raise the budget or "
        "train longer."
    )


def _rates(result: Mapping[str, Any]) -> str:
    shown = [
        f"{name} {rate:.3g} ({spikes:,.1f})"
        for name, rate, spikes in zip(
            result["layers"], result["spike_rates"], result["spikes"], strict=True
        )
        if name in result["silent_layers"]
    ]
    return "Spikes per neuron and step (per inference): " + (", ".join(shown) or "no layer fires")


def _dataflows(flows: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """The dataflow of each layer on a machine with two, and the rate at which it changes."""
    lines = []
    for name, flow in flows.items():
        switch_rate = math.inf if flow["switch_rate"] is None else flow["switch_rate"]
        words = dataflow_text(flow["dense"], flow["rate"], switch_rate)
        lines.append(f"Priced: {name} {words}.")
    return lines


def _provenance(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"Constants behind the energy: {', '.join(result['constants'])}."
    reasons: dict[str, list[str]] = {}
    for component, reason in result["unpriced"].items():
        reasons.setdefault(reason, []).append(component.replace("_", " "))
    for reason, components in reasons.items():
        yield f"Unpriced on this machine: {', '.join(components)} ({reason})."


def _warnings(silent: Mapping[str, Mapping[str, int]]) -> list[str]:
    lines = []
    for name, count in silent.items():
        silent, neurons = count["silent"], count["neurons"]
        if silent == neurons:
            lines.append(
                f"WARNING: layer {name} fell silent: none of its {neurons} neurons fired on the "
                "whole test set, so nothing of the input passes it. Lower the energy weight or "
                "raise the dead-neuron weight."
            )
        elif silent > _SILENT_SHARE * neurons:
            lines.append(
                f"WARNING: layer {name} is mostly silent: {silent} of its {neurons} neurons never "
                "fired on the whole test set; they still cost area and state, and a narrower layer "
                "would do."
            )
    return lines

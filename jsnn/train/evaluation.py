"""Evaluation: sums over a whole set, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jsnn._checks import whole_number
from jsnn.energy import EnergyBreakdown, dataflow, op_count_proxy
from jsnn.energy.qnn import estimate_qnn_energy
from jsnn.nn import forward
from jsnn.nn.time_plan import WHOLE, TimePlan
from jsnn.train.levers import Pairs, price
from jsnn.train.losses import name_of, takes_classes
from jsnn.train.objective import Objective, per_sample
from jsnn.train.state import Encoder
from jsnn.train.step import check_samples

# Sums of every evaluation, beside those of the metrics.
RESERVED = {
    "samples", "task", "parts_pj", "spike_independent_pj", "qnn_pj", "op_count_pj", "spikes",
    "rates", "ever", "figures", "figures_spike_independent", "dataflows", "not_finite",
    "labels_beyond",
}  # fmt: skip


def make_eval_step(
    model: nn.Module, objective: Objective, encoder: Encoder, *, plan: TimePlan = WHOLE
) -> Callable:
    """One jitted evaluation batch: `(variables, frames, labels, weight, key) -> sums`.

    `weight` `[B]` is 1 for a sample and 0 for padding. Sums over the batch: `samples`, `task`, each
    metric under its name, `parts_pj` `[L, C]` of the energy, `spike_independent_pj`, `qnn_pj`,
    `op_count_pj`, `spikes` and `rates` `[L]` and, layer by layer, the spikes of each neuron over
    the batch (`ever`). The QNN runs on the machine as it is before any lever. `figures` and
    `figures_spike_independent`: what the terms measure (`jsnn.train.objective.Term.figures`, the
    usage of what a budget limits), of the network and of the same network silent, by term. By
    layer: `dataflows` (`jsnn.energy.Dataflow`; `switches` counts the samples with a finite switch
    rate), and `not_finite`, samples whose events could not be counted. `labels_beyond` counts the
    samples whose labels are no classes of the network.
    """

    def step(variables, samples, labels, weight, key):
        frames = encoder(key, samples)
        passed = forward(model, variables, frames, plan=plan, unpriced=objective.unpriced)
        workload, params = passed.workload, variables["params"]
        parts_pj = objective.estimate_energy(workload, params).parts_pj
        return {
            "samples": weight.sum(),
            "task": weight
            @ per_sample("loss", objective.loss, passed.outputs, labels, len(weight)),
            **_metrics(objective, passed.outputs, labels, weight),
            "parts_pj": jnp.einsum("b,blc->lc", weight, parts_pj),
            "spike_independent_pj": weight
            @ objective.estimate_energy(workload.silenced(), params).total_pj(),
            "qnn_pj": weight @ estimate_qnn_energy(workload, objective.hardware).total_pj(),
            "op_count_pj": weight @ op_count_proxy(workload),
            "spikes": jnp.stack([weight @ layer.output_events for layer in workload]),
            "rates": jnp.stack([weight @ layer.spike_rate for layer in workload]),
            "ever": [jnp.einsum("b,b...->...", weight, layer.spikes) for layer in workload],
            "figures": _weighed(weight, objective.figures(workload, params)),
            "figures_spike_independent": _weighed(
                weight, objective.figures(workload.silenced(), params)
            ),
            "dataflows": _dataflows(
                weight, price(objective.levers, params, workload, objective.hardware)
            ),
            "not_finite": {l.geometry.name: weight @ jnp.logical_not(l.finite) for l in workload},
            "labels_beyond": weight @ _any_beyond(objective, labels, passed.outputs.shape[-1]),
        }

    return jax.jit(step)


def evaluate(eval_step: Callable, variables: Any, data, batch: int, key: jax.Array) -> dict:
    """Sums of `eval_step` over a whole set, in float64 NumPy; the last batch is padded.

    Batches are sliced outside the jit, so that one compilation serves sets of any size.

    Args:
        eval_step: from `make_eval_step`.
        variables: of the model.
        data: `(frames [N, ...], labels [N, ...])`, NumPy or on the device.
        batch: samples per step.
        key: for the encoder; the same key gives the same figures.

    Raises:
        ValueError: an empty set, samples and labels of unequal number, labels that are no classes,
            a batch that is no whole number of samples.
        FloatingPointError: samples whose events could not be counted, naming the layer; outputs
            that are not finite.
    """
    frames, labels = data
    check_samples(frames, labels)
    batch = whole_number("batch", batch, 1, 10**9)
    total, count = None, len(frames)
    for number, start in enumerate(range(0, count, batch)):
        index = np.arange(start, start + batch)
        weight = (index < count).astype(np.float32)
        index = np.minimum(index, count - 1)
        step_key = jax.random.fold_in(key, number)
        sums = eval_step(variables, frames[index], labels[index], weight, step_key)
        sums = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.device_get(sums))
        _check_finite(sums)
        total = sums if total is None else jax.tree.map(np.add, total, sums)
    return total


def means(sums: Mapping[str, Any], first: EnergyBreakdown) -> dict[str, Any]:
    """Means of an evaluated set, as numbers and lists of JSON.

    Args:
        sums: from `evaluate`.
        first: any energy estimate of the network, for the names of layers and components.
    """
    count = float(sums["samples"])
    parts = sums["parts_pj"] / count
    total, independent, qnn = (
        float(parts.sum()),
        sums["spike_independent_pj"] / count,
        sums["qnn_pj"] / count,
    )
    return {
        **{name: (value / count).tolist() for name, value in sums.items() if name not in RESERVED},
        "total_pj": total,
        "spike_independent_pj": float(independent),
        "spike_dependent_pj": float(total - independent),
        "qnn_pj": float(qnn),
        "energy_ratio": float(total / qnn),
        "op_count_pj": float(sums["op_count_pj"] / count),
        "energy_by_layer_pj": {
            layer: dict(zip(first.components, row, strict=True))
            for layer, row in zip(first.layers, parts.tolist(), strict=True)
        },
        "spikes": (sums["spikes"] / count).tolist(),
        "spike_rates": (sums["rates"] / count).tolist(),
        "dataflows": {
            layer: {
                "dense": float(flow["dense"] / count),
                "rate": float(flow["rate"] / count),
                "switch_rate": float(flow["switch_rate"] / flow["switches"])
                if flow["switches"]
                else None,
            }
            for layer, flow in sums["dataflows"].items()
        },
    }


def _metrics(
    objective: Objective, outputs: jax.Array, labels: jax.Array, weight: jax.Array
) -> dict[str, jax.Array]:
    named = {name_of(metric): metric for metric in objective.metrics}
    if clash := set(named) & RESERVED:
        raise ValueError(f"the metric {min(clash)!r} has the name of a sum of every evaluation")
    return {
        name: jnp.einsum(
            "b,b...->...",
            weight,
            per_sample(f"metric {name}", metric, outputs, labels, len(weight)),
        )
        for name, metric in named.items()
    }


def _any_beyond(objective: Objective, labels: jax.Array, classes: int) -> jax.Array:
    if not takes_classes(objective.loss):
        return jnp.zeros(len(labels), bool)
    return ((labels < 0) | (labels >= classes)).reshape(len(labels), -1).any(1)


def _check_finite(sums: Mapping[str, Any]) -> None:
    # With several networks at once, each with its own sums, the caller has to check.
    if np.any(sums.get("labels_beyond", 0) > 0):
        raise ValueError(
            f"labels of {int(np.max(sums['labels_beyond']))} samples of a batch are no classes of "
            "the network: give it as many outputs as there are classes, or number the classes from "
            "0"
        )
    bad = {n: s for n, s in sums.get("not_finite", {}).items() if not np.ndim(s) and s > 0}
    if bad:
        counts = ", ".join(f"{name} ({int(n)} samples)" for name, n in bad.items())
        raise FloatingPointError(
            f"what happened in the layers {counts} is no number: membranes or constants that are "
            "not finite (did the network diverge?), or frames that are not what the layer declares "
            "(jsnn.run outside of jit says which)"
        )
    for name in {"task"} | (set(sums) - RESERVED):
        if not np.ndim(sums.get(name, 0)) and not np.isfinite(sums.get(name, 0)):
            raise FloatingPointError(
                f"{name} is {sums[name]} over a batch: outputs of the network are not finite"
            )


def _dataflows(weight: jax.Array, pairs: Pairs) -> dict[str, dict[str, jax.Array]]:
    sums = {}
    for layer, hardware in pairs:
        if (flow := dataflow(layer, hardware)) is None:
            continue
        switches = jnp.isfinite(flow.switch_rate)
        sums[layer.geometry.name] = {
            "dense": weight @ flow.dense,
            "rate": weight @ flow.rate,
            "switch_rate": weight @ jnp.where(switches, flow.switch_rate, 0),
            "switches": weight @ switches,
        }
    return sums


def _weighed(weight: jax.Array, figures: Any) -> Any:
    return jax.tree.map(lambda each: weight @ each, figures)

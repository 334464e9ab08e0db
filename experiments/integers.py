"""Report of a run with quantised weights: bits by layer and the equivalent integer network."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jsnn.export.integer import export, input_step
from jsnn.train.levers import Levered, split
from jsnn.train.losses import accuracy


def report(model: Levered, variables: Any, encoder, data, key, batch: int) -> dict[str, Any]:
    """Bits by layer, the integer network (or why there is none) and its accuracy on a set.

    Args:
        model: the network with its levers.
        variables: of the model.
        encoder: of samples.
        data: samples and labels.
        key: for the encoder.
        batch: samples at a time.
    """
    variables = jax.device_get(variables)
    _, leaves = split(variables["params"])
    (bits,) = (lever for lever in model.levers if lever.name == "bits")
    content = {"bits": bits.widths(leaves[bits.name])}
    frames, labels = data
    apply = jax.jit(lambda frames: model.apply(variables, frames, False))
    try:
        shown = np.asarray(encoder(key, frames))
        step, largest = input_step(shown), float(np.abs(shown).max())
        network = export(model, variables, input_step=step, largest_input=largest)
    except ValueError as reason:
        return content | {"network": None, "integers": {"refused": str(reason)}}
    right, different = 0.0, 0
    for start in range(0, len(labels), batch):
        cut = slice(start, start + batch)
        done = network.run(shown[:, cut])
        right += float(accuracy(done.outputs, labels[cut]).sum())
        different += int((~done.equals(apply(shown[:, cut]))).sum())
    measured = {"accuracy": right / len(labels), "outputs_unlike_float": different}
    return content | {"network": network, "integers": measured}

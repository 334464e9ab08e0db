"""Measurements of a run, as JSON."""

from __future__ import annotations

import dataclasses
import functools
import platform
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np

import jsnn
from jsnn.quantise import fake_quantise
from jsnn.train.levers import LEVERS, NETWORK
from jsnn.train.optimiser import label_params
from jsnn.train.state import TrainState


def at_bits(state: TrainState, bits: int) -> TrainState:
    """The network with its weights rounded to the width that the energy is priced at."""
    return dataclasses.replace(state, params=rounded(state.params, bits))


def rounded(params: Any, bits: int) -> Any:
    """Parameters with weights rounded to `bits` bits."""
    return jax.tree.map(
        lambda leaf, label: fake_quantise(leaf, bits) if label == "weights" else leaf,
        params,
        label_params(params),
    )


def plain(tree: Any) -> Any:
    """Arrays as the numbers and lists of JSON."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64).tolist(), jax.device_get(tree))


def parameters(state: TrainState) -> int:
    """Number of trained parameters of a network, without those of its levers."""
    levered = set(state.params) == {NETWORK, LEVERS}
    trained = state.params[NETWORK] if levered else state.params
    return sum(leaf.size for leaf in jax.tree.leaves(trained))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the latter is 0 for one value.

    >>> spread([1.0, 3.0]), spread([2.0])
    ((2.0, 1.4142135623730951), (2.0, 0.0))
    """
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return float(np.mean(values)), float(deviation)


def since(moment: float) -> float:
    """Seconds since a moment of `time.perf_counter`."""
    return round(time.perf_counter() - moment, 3)


def versions() -> dict[str, str]:
    """Versions of python, jsnn and the packages that its results depend on."""
    return {"python": platform.python_version(), "jsnn": jsnn.__version__, **_installed()}


@functools.cache
def _installed() -> dict[str, str]:
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {name: metadata.version(name) for name in packages}

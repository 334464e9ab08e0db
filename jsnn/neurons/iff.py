"""Integrate-and-fire neuron without leak."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jax import Array

from jsnn.neurons.initial import Initial, check_initial, draw_params
from jsnn.neurons.protocol import NeuronOps, Params, membrane_at_rest
from jsnn.neurons.reset import Reset, check_reset, reset_membrane
from jsnn.neurons.trained import Factor, Range, check_trainable
from jsnn.surrogate import ATan, Surrogate

_SURROGATE = ATan()


class IFState(NamedTuple):
    """Membrane after the reset, `[B, ...]`."""

    v: Array


def if_step(
    v: Array,
    current: Array,
    *,
    v_threshold: Array,
    r: Array,
    surrogate: Surrogate,
    v_reset: float = 0.0,
    reset: Reset = "subtract",
    strict: bool = False,
    detach_reset: bool = False,
) -> tuple[Array, Array]:
    """One step without leak: `v ← v + r I`, `s = H(v − v_threshold)`, reset.

    No delay; returns the membrane after the reset and the spikes, `[B, ...]`. The other arguments
    are those of `jsnn.neurons.lif_step`.

    Example:
        >>> one = jnp.ones(1)
        >>> if_step(0.5 * one, one, v_threshold=one, r=one, surrogate=ATan())
        (Array([0.5], dtype=float32), Array([1.], dtype=float32))
    """
    v = v + r * current
    spikes = surrogate(v - v_threshold, strict)
    v = reset_membrane(v, spikes, v_threshold, reset=reset, v_reset=v_reset, detach=detach_reset)
    return v, spikes


@dataclasses.dataclass(frozen=True)
class IF:
    """Integrate-and-fire population, see `if_step`.

    Leaves: `v_threshold`, `r`, trained where `trainable` names them. The membrane starts at
    `start · v_threshold`; a network converted from a quantised one (QCFS, Bu 2022) starts at half
    the threshold, `IF(start=0.5)`. There is no time constant, so there is no `dt`.

    Raises:
        ValueError: a threshold or r that is not positive; an unknown reset; a start that is not
            finite; `trainable` names no leaf.

    Example:
        >>> import jax
        >>> neuron = IF(start=0.5)
        >>> params = neuron.init_params(jax.random.key(0), (2,))
        >>> neuron.init_state(params, (1, 2))
        IFState(v=Array([[0.5, 0.5]], dtype=float32))
    """

    v_threshold: Initial = 1.0
    r: Initial = 1.0
    start: float = 0.0
    v_reset: float = 0.0
    reset: Reset = "subtract"
    strict: bool = False
    detach_reset: bool = False
    surrogate: Surrogate = _SURROGATE
    trainable: tuple[str, ...] = ()

    spiking: ClassVar[bool] = True

    def __post_init__(self):
        check_initial(self, "v_threshold", "r", positive=True)
        check_reset(self)
        if not math.isfinite(self.start):
            raise ValueError(f"IF: start must be a finite multiple of v_threshold, {self.start!r}")
        check_trainable(self)

    @property
    def ranges(self) -> dict[str, Range]:
        """Every leaf is positive."""
        return {"v_threshold": Factor(), "r": Factor()}

    @property
    def ops(self) -> NeuronOps:
        """Synapses accumulate straight into the membrane; one compare. A spike subtracts once."""
        return NeuronOps(1, 0, 0, 1, int(self.reset == "subtract"))

    def init_params(self, key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Params:
        """`v_threshold` and `r`, each of this feature shape."""
        leaves = {"v_threshold": self.v_threshold, "r": self.r}
        return draw_params(key, shape, dtype, positive=leaves)

    def init_state(
        self, params: Params, shape: tuple[int, ...], key: Array | None = None
    ) -> IFState:
        """Membrane at `start · v_threshold`; with a key uniform in `[0, v_threshold)`.

        NaN where the threshold is not positive.
        """
        threshold = params["v_threshold"]
        start = self.start * threshold if key is None else 0.0
        return IFState(membrane_at_rest(shape, start, threshold, key, threshold))

    def step(self, params: Params, state: IFState, current: Array) -> tuple[IFState, Array]:
        """One step of `if_step`."""
        v, spikes = if_step(
            state.v,
            current,
            **params,
            v_reset=self.v_reset,
            reset=self.reset,
            strict=self.strict,
            detach_reset=self.detach_reset,
            surrogate=self.surrogate,
        )
        return IFState(v), spikes

    def potential(self, state: IFState) -> Array:
        """Membrane after the reset."""
        return state.v

"""Parametric leaky integrate-and-fire neuron: the leak is trained through a sigmoid."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.neurons.initial import Initial, Normal, Uniform, check_initial, draw_params
from jsnn.neurons.protocol import NeuronOps, Params, membrane_at_rest
from jsnn.neurons.reset import Reset, check_dt, check_reset, reset_membrane
from jsnn.neurons.trained import Factor, Range, Shift, check_trainable
from jsnn.surrogate import ATan, Surrogate

_SURROGATE = ATan()


class PLIFState(NamedTuple):
    """Membrane after the reset, `[B, ...]`."""

    v: Array


def plif_step(
    v: Array,
    current: Array,
    *,
    w: Array,
    v_threshold: Array,
    surrogate: Surrogate,
    v_leak: float = 0.0,
    v_reset: float = 0.0,
    reset: Reset = "zero",
    strict: bool = False,
    detach_reset: bool = False,
) -> tuple[Array, Array]:
    """One step of the parametric neuron (Fang 2021, 2007.05785).

    `k = σ(w)`, `v ← v + k (I − (v − v_leak))`, `s = H(v − v_threshold)`, reset.

    The membrane keeps `1 − σ(w)` of itself; `τ_mem = dt / σ(w)`, never below one step, whatever
    training makes of w. No delay; the membrane returned is the one after the reset.

    Args:
        v: membrane, `[B, ...]`.
        current: `[B, ...]`.
        w: any real number, broadcasts from the right, like v_threshold.
        v_threshold, v_leak, v_reset, reset, strict, detach_reset, surrogate: as in
            `jsnn.neurons.lif_step`.

    Returns:
        Membrane after the reset and spikes, `[B, ...]`.

    Example:
        >>> one = jnp.ones(1)
        >>> plif_step(0.5 * one, one, w=0 * one, v_threshold=one, surrogate=ATan())
        (Array([0.75], dtype=float32), Array([0.], dtype=float32))
    """
    v = v + jax.nn.sigmoid(w) * (current - (v - v_leak))
    spikes = surrogate(v - v_threshold, strict)
    v = reset_membrane(v, spikes, v_threshold, reset=reset, v_reset=v_reset, detach=detach_reset)
    return v, spikes


@dataclasses.dataclass(frozen=True)
class PLIF:
    """Parametric leaky integrate-and-fire population, see `plif_step`.

    Leaves: `w` and `v_threshold`; w is trained, by the definition of this neuron. `tau_mem` (s)
    sets its start, `w = −log(τ_mem/dt − 1)`; it must lie above dt. The default is the paper's 2
    steps, with its hard reset. The paper shares one w among a layer; here each feature has its own.

    Raises:
        ValueError: a time constant not above dt (for a Normal: its mean); a threshold or dt that
            is not positive; an unknown reset; `trainable` names no leaf.

    Example:
        >>> neuron = PLIF()
        >>> neuron.init_params(jax.random.key(0), (2,))["w"]
        Array([0., 0.], dtype=float32)
    """

    tau_mem: Initial = 2e-3
    v_threshold: Initial = 1.0
    v_leak: float = 0.0
    v_reset: float = 0.0
    dt: float = 1e-3
    reset: Reset = "zero"
    strict: bool = False
    detach_reset: bool = False
    surrogate: Surrogate = _SURROGATE
    trainable: tuple[str, ...] = ("w",)

    spiking: ClassVar[bool] = True

    def __post_init__(self):
        check_initial(self, "tau_mem", "v_threshold", positive=True)
        check_dt(self)
        check_reset(self)
        match self.tau_mem:
            case Uniform(low, _):
                least = low
            case Normal(mean, _):
                least = mean
            case number:
                least = number
        if least <= self.dt:
            raise ValueError(
                f"PLIF: tau_mem must lie above dt, got {self.tau_mem!r} and dt {self.dt!r} s"
            )
        check_trainable(self)

    @property
    def ranges(self) -> dict[str, Range]:
        """w is any real number; within ±ln 1000 the time constant is 1.001 to 1001 steps."""
        return {"w": Shift(-math.log(1000), math.log(1000)), "v_threshold": Factor()}

    @property
    def ops(self) -> NeuronOps:
        """As a LIF: `(1 − k) v + I` is a multiply and an add, a rest other than 0 one more add."""
        rest = int(self.v_leak != 0)
        return NeuronOps(1, 1, 1 + rest, 1, int(self.reset == "subtract"))

    def init_params(self, key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Params:
        """`w` and `v_threshold`, each of this feature shape.

        A draw of a Normal below 1.001 steps counts as 1.001 steps, where w is still finite.
        """
        leaves = {"tau_mem": self.tau_mem, "v_threshold": self.v_threshold}
        params = draw_params(key, shape, dtype, positive=leaves)
        steps = jnp.maximum(params.pop("tau_mem") / self.dt, 1.001)
        return {"w": -jnp.log(steps - 1)} | params

    def init_state(
        self, params: Params, shape: tuple[int, ...], key: Array | None = None
    ) -> PLIFState:
        """Membrane at `v_leak`; with a key uniform between `v_leak` and the threshold.

        NaN where the threshold is not positive.
        """
        threshold = params["v_threshold"]
        span = threshold - self.v_leak
        return PLIFState(membrane_at_rest(shape, self.v_leak, span, key, threshold))

    def step(self, params: Params, state: PLIFState, current: Array) -> tuple[PLIFState, Array]:
        """One step of `plif_step`."""
        v, spikes = plif_step(
            state.v,
            current,
            **params,
            v_leak=self.v_leak,
            v_reset=self.v_reset,
            reset=self.reset,
            strict=self.strict,
            detach_reset=self.detach_reset,
            surrogate=self.surrogate,
        )
        return PLIFState(v), spikes

    def potential(self, state: PLIFState) -> Array:
        """Membrane after the reset."""
        return state.v

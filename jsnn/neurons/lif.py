"""Leaky integrate-and-fire neuron."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jax import Array

from jsnn.neurons._decay import decay
from jsnn.neurons.initial import Initial, check_initial, draw_params
from jsnn.neurons.protocol import NeuronOps, Params, membrane_at_rest
from jsnn.neurons.reset import Reset, check_dt, check_reset, reset_membrane
from jsnn.neurons.trained import Factor, Range, check_trainable
from jsnn.surrogate import ATan, Surrogate

_SURROGATE = ATan()


class LIFState(NamedTuple):
    """Membrane after the reset, `[B, ...]`."""

    v: Array


def lif_step(
    v: Array,
    current: Array,
    *,
    tau_mem: Array,
    v_threshold: Array,
    r: Array,
    dt: float,
    v_leak: float = 0.0,
    v_reset: float = 0.0,
    reset: Reset = "subtract",
    scale_input: bool = False,
    strict: bool = False,
    detach_reset: bool = False,
    surrogate: Surrogate,
) -> tuple[Array, Array]:
    """One step of a leaky integrate-and-fire neuron.

    `a = exp(−dt/τ_mem)`, `g = (1−a) r` if `scale_input` else `r`,
    `v ← v_leak + a (v − v_leak) + g I`, `s = H(v − v_threshold)`, reset.

    The spike at t depends on the current of t: no delay. The membrane returned is the one after
    the reset.

    Args:
        v: membrane, `[B, ...]`.
        current: `[B, ...]`.
        tau_mem: in s, broadcasts from the right, like v_threshold and r.
        v_threshold: fires from here on (above it, if strict).
        r: resistance: membrane per unit of current.
        dt: time step, in s.
        v_leak: rest of the membrane.
        v_reset: where the reset `zero` puts the membrane.
        reset: `subtract`, `zero` or `none`.
        scale_input: the exact solution for a current held over the step (NIR's equation); else
            a spike through a weight w raises the membrane by r·w.
        strict: fire at `v > v_threshold` instead of `>=`.
        detach_reset: no gradient through the reset.
        surrogate: derivative of the spike.

    Returns:
        Membrane after the reset and spikes, `[B, ...]`.

    Example:
        >>> one = jnp.ones(1)
        >>> leaves = {"tau_mem": 20e-3 * one, "v_threshold": one, "r": one}
        >>> lif_step(0.5 * one, one, **leaves, dt=1e-3, surrogate=ATan())
        (Array([0.4756147], dtype=float32), Array([1.], dtype=float32))
    """
    a = decay(tau_mem, dt)
    gain = (1 - a) * r if scale_input else r
    v = v_leak + a * (v - v_leak) + gain * current
    spikes = surrogate(v - v_threshold, strict)
    v = reset_membrane(v, spikes, v_threshold, reset=reset, v_reset=v_reset, detach=detach_reset)
    return v, spikes


@dataclasses.dataclass(frozen=True)
class LIF:
    """Leaky integrate-and-fire population, see `lif_step` for the equations and each field.

    Leaves: `tau_mem` (s), `v_threshold`, `r`; each a number or a distribution at the start. Those
    named in `trainable` are trained, none by default (`jsnn.neurons.trained`). `v_leak` and
    `v_reset` may be zero or negative; they are no leaves and are not trained.

    Raises:
        ValueError: a time constant, threshold, r or dt that is not positive; an unknown reset;
            `trainable` names no leaf.

    Example:
        >>> import jax
        >>> neuron = LIF(tau_mem=10e-3)
        >>> params = neuron.init_params(jax.random.key(0), (3,))
        >>> state = neuron.init_state(params, (2, 3))
        >>> state, spikes = neuron.step(params, state, jnp.ones((2, 3)))
        >>> spikes.shape
        (2, 3)
    """

    tau_mem: Initial = 20e-3
    v_threshold: Initial = 1.0
    r: Initial = 1.0
    v_leak: float = 0.0
    v_reset: float = 0.0
    dt: float = 1e-3
    reset: Reset = "subtract"
    scale_input: bool = False
    strict: bool = False
    detach_reset: bool = False
    surrogate: Surrogate = _SURROGATE
    trainable: tuple[str, ...] = ()

    spiking: ClassVar[bool] = True

    def __post_init__(self):
        check_initial(self, "tau_mem", "v_threshold", "r", positive=True)
        check_dt(self)
        check_reset(self)
        check_trainable(self)

    @property
    def ranges(self) -> dict[str, Range]:
        """Every leaf is positive."""
        return {"tau_mem": Factor(), "v_threshold": Factor(), "r": Factor()}

    @property
    def ops(self) -> NeuronOps:
        """`a·v + I` is a multiply and an add, a rest other than 0 one add, a threshold one compare.

        Subtracting the threshold is one add per spike; a reset to `v_reset` computes nothing.
        """
        rest = int(self.v_leak != 0)
        return NeuronOps(1, 1, 1 + rest, 1, int(self.reset == "subtract"))

    def init_params(self, key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Params:
        """`tau_mem` (s), `v_threshold`, `r`, each of this feature shape."""
        leaves = {"tau_mem": self.tau_mem, "v_threshold": self.v_threshold, "r": self.r}
        return draw_params(key, shape, dtype, positive=leaves)

    def init_state(
        self, params: Params, shape: tuple[int, ...], key: Array | None = None
    ) -> LIFState:
        """Membrane at `v_leak`; with a key uniform between `v_leak` and the threshold.

        NaN where the threshold is not positive.
        """
        threshold = params["v_threshold"]
        span = threshold - self.v_leak
        return LIFState(membrane_at_rest(shape, self.v_leak, span, key, threshold))

    def step(self, params: Params, state: LIFState, current: Array) -> tuple[LIFState, Array]:
        """One step of `lif_step`."""
        v, spikes = lif_step(
            state.v,
            current,
            **params,
            dt=self.dt,
            v_leak=self.v_leak,
            v_reset=self.v_reset,
            reset=self.reset,
            scale_input=self.scale_input,
            strict=self.strict,
            detach_reset=self.detach_reset,
            surrogate=self.surrogate,
        )
        return LIFState(v), spikes

    def potential(self, state: LIFState) -> Array:
        """Membrane after the reset."""
        return state.v

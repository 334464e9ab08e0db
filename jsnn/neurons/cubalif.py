"""Leaky integrate-and-fire neuron with a leaky synaptic current."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jax import Array

from jsnn.neurons._decay import decay
from jsnn.neurons.initial import Initial, check_initial, draw_params
from jsnn.neurons.lif import lif_step
from jsnn.neurons.protocol import NeuronOps, Params, membrane_at_rest
from jsnn.neurons.reset import Reset, check_dt, check_reset
from jsnn.neurons.trained import Factor, Range, check_trainable
from jsnn.surrogate import ATan, Surrogate

_SURROGATE = ATan()


class CuBaLIFState(NamedTuple):
    """Membrane after the reset and synaptic current, each `[B, ...]`."""

    v: Array
    i: Array


def cubalif_step(
    v: Array,
    i: Array,
    current: Array,
    *,
    tau_syn: Array,
    dt: float,
    **membrane,
) -> tuple[Array, Array, Array]:
    """One step of a current-based neuron: `i ← exp(−dt/τ_syn) i + I`, then `lif_step` driven by i.

    The membrane sees the synaptic current of this step: no delay. An input spike of weight w raises
    the current by w.

    Args:
        v, i: state, `[B, ...]`.
        current: input I, `[B, ...]`.
        tau_syn: in s, broadcasts from the right.
        dt: time step, in s.
        membrane: all other arguments of `jsnn.neurons.lif_step`.

    Returns:
        Membrane after the reset, synaptic current and spikes, `[B, ...]`.

    Example:
        >>> zero, one = jnp.zeros(1), jnp.ones(1)
        >>> v, i, s = cubalif_step(zero, zero, 0.5 * one, tau_syn=5e-3 * one, dt=1e-3,
        ...     tau_mem=20e-3 * one, v_threshold=one, r=one, surrogate=ATan())
        >>> v, i
        (Array([0.5], dtype=float32), Array([0.5], dtype=float32))
    """
    i = decay(tau_syn, dt) * i + current
    v, spikes = lif_step(v, i, dt=dt, **membrane)
    return v, i, spikes


@dataclasses.dataclass(frozen=True)
class CuBaLIF:
    """Current-based leaky integrate-and-fire population, see `cubalif_step`.

    Leaves: `tau_syn`, `tau_mem` (s), `v_threshold`, `r`, trained where `trainable` names them; none
    by default.

    Raises:
        ValueError: a time constant, threshold, r or dt that is not positive; an unknown reset;
            `trainable` names no leaf.

    Example:
        >>> import jax
        >>> neuron = CuBaLIF()
        >>> params = neuron.init_params(jax.random.key(0), (3,))
        >>> state, spikes = neuron.step(params, neuron.init_state(params, (2, 3)), jnp.ones((2, 3)))
        >>> state.i.shape
        (2, 3)
    """

    tau_syn: Initial = 5e-3
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
        check_initial(self, "tau_syn", "tau_mem", "v_threshold", "r", positive=True)
        check_dt(self)
        check_reset(self)
        check_trainable(self)

    @property
    def ranges(self) -> dict[str, Range]:
        """Every leaf is positive."""
        return dict.fromkeys(("tau_syn", "tau_mem", "v_threshold", "r"), Factor())

    @property
    def ops(self) -> NeuronOps:
        """A LIF's, and one more multiply and add for the synaptic current.

        The gain on the synaptic current is constant, so it sits in the weights like any other.
        """
        rest = int(self.v_leak != 0)
        return NeuronOps(2, 2, 2 + rest, 1, int(self.reset == "subtract"))

    def init_params(self, key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Params:
        """`tau_syn`, `tau_mem` (s), `v_threshold` and `r`, each of this feature shape."""
        leaves = {
            "tau_syn": self.tau_syn,
            "tau_mem": self.tau_mem,
            "v_threshold": self.v_threshold,
            "r": self.r,
        }
        return draw_params(key, shape, dtype, positive=leaves)

    def init_state(
        self, params: Params, shape: tuple[int, ...], key: Array | None = None
    ) -> CuBaLIFState:
        """No current, membrane at `v_leak`; with a key uniform between that and the threshold.

        NaN where the threshold is not positive.
        """
        threshold = params["v_threshold"]
        v = membrane_at_rest(shape, self.v_leak, threshold - self.v_leak, key, threshold)
        return CuBaLIFState(v, jnp.zeros(shape, threshold.dtype))

    def step(
        self, params: Params, state: CuBaLIFState, current: Array
    ) -> tuple[CuBaLIFState, Array]:
        """One step of `cubalif_step`."""
        v, i, spikes = cubalif_step(
            state.v,
            state.i,
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
        return CuBaLIFState(v, i), spikes

    def potential(self, state: CuBaLIFState) -> Array:
        """Membrane after the reset."""
        return state.v

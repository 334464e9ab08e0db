"""Adaptive leaky integrate-and-fire neuron of Yin, Corradi & Bohté."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.neurons._decay import decay
from jsnn.neurons.initial import Initial, check_initial, draw_params
from jsnn.neurons.protocol import NeuronOps, Params, membrane_at_rest
from jsnn.neurons.reset import check_dt
from jsnn.neurons.trained import Factor, Range, check_trainable
from jsnn.surrogate import MultiGaussian, Surrogate

_SURROGATE = MultiGaussian()


class ALIFState(NamedTuple):
    """Membrane before its reset, adaptation and the spikes of the last step, each `[B, ...]`."""

    v: Array
    adaptation: Array
    spikes: Array


def alif_step(
    v: Array,
    adaptation: Array,
    spikes: Array,
    current: Array,
    *,
    tau_mem: Array,
    tau_adp: Array,
    v_threshold: Array,
    beta: float = 1.8,
    dt: float,
    strict: bool = True,
    detach_reset: bool = False,
    surrogate: Surrogate,
) -> tuple[Array, Array, Array]:
    """One step of the adaptive neuron (2103.12593, methods; signs and order after its code).

    With `α = exp(−dt/τ_mem)`, `ρ = exp(−dt/τ_adp)` and s the spikes of the step before:

    1. adaptation `b ← ρ b + (1−ρ) s`, threshold `B = v_threshold + β b`;
    2. `v ← α v + (1−α) I − B s`: the reset comes one step late, with the present threshold;
    3. `s = H(v − B)`.

    The membrane returned is the one before its reset. Gradients pass through reset and adaptation.

    Args:
        v, adaptation, spikes: state, `[B, ...]`.
        current: `[B, ...]`.
        tau_mem, tau_adp: in s, broadcast from the right, like v_threshold (b_j0 in the paper).
        beta: strength of the adaptation; 0 for a neuron without it.
        dt: time step, in s.
        strict: fire at `v > B`, as the paper does.
        detach_reset: no gradient through the spikes of the reset; the adaptation keeps its own.
        surrogate: derivative of the spike.

    Returns:
        Membrane, adaptation and spikes, `[B, ...]`.

    Example:
        >>> v, b, s = jnp.zeros(1), jnp.full(1, 0.01), jnp.zeros(1)
        >>> params = ALIF().init_params(jax.random.key(0), (1,))
        >>> v, b, s = alif_step(v, b, s, 0.5, **params, dt=1e-3, surrogate=MultiGaussian())
        >>> v
        Array([0.024385], dtype=float32)
    """
    alpha, rho = decay(tau_mem, dt), decay(tau_adp, dt)
    adaptation = rho * adaptation + (1 - rho) * spikes
    threshold = v_threshold + beta * adaptation
    sent = jax.lax.stop_gradient(spikes) if detach_reset else spikes
    v = alpha * v + (1 - alpha) * current - threshold * sent
    return v, adaptation, surrogate(v - threshold, strict)


@dataclasses.dataclass(frozen=True)
class ALIF:
    """Adaptive population, see `alif_step`. The late soft reset is fixed.

    Leaves: `tau_mem`, `tau_adp` (s), `v_threshold`. Both time constants are trained for each
    neuron, as in the paper (2103.12593, methods, and its code). The defaults are the paper's in
    steps of 1 ms; for GSC and TIMIT it has `v_threshold=1.6, beta=0.184`, for SHD
    `tau_mem=Normal(20e-3, 5e-3), tau_adp=Normal(150e-3, 10e-3)`.

    Raises:
        ValueError: a time constant, threshold or dt that is not positive; a negative beta;
            `trainable` names no leaf.

    Example:
        >>> neuron = ALIF()
        >>> params = neuron.init_params(jax.random.key(0), (3,))
        >>> neuron.init_state(params, (1, 3)).adaptation
        Array([[0.01, 0.01, 0.01]], dtype=float32)
    """

    tau_mem: Initial = 20e-3
    tau_adp: Initial = 150e-3
    v_threshold: Initial = 0.01
    beta: float = 1.8
    dt: float = 1e-3
    strict: bool = True
    detach_reset: bool = False
    surrogate: Surrogate = _SURROGATE
    trainable: tuple[str, ...] = ("tau_mem", "tau_adp")

    spiking: ClassVar[bool] = True

    def __post_init__(self):
        check_initial(self, "tau_mem", "tau_adp", "v_threshold", positive=True)
        if not self.beta >= 0:
            raise ValueError(f"ALIF: beta must be 0 or more, got {self.beta!r}")
        check_dt(self)
        check_trainable(self)

    @property
    def ranges(self) -> dict[str, Range]:
        """Every leaf is positive."""
        return dict.fromkeys(("tau_mem", "tau_adp", "v_threshold"), Factor())

    @property
    def ops(self) -> NeuronOps:
        """`α v`, `ρ b`, `β b`; adding the current and the base threshold; one compare.

        A spike adds `1−ρ` to the adaptation and takes the threshold from the membrane. Without
        adaptation (beta = 0) the operations are a LIF's.
        """
        if self.beta == 0:
            return NeuronOps(1, 1, 1, 1, 1)
        return NeuronOps(2, 3, 2, 1, 2)

    def init_params(self, key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Params:
        """`tau_mem`, `tau_adp` (s) and `v_threshold`, each of this feature shape."""
        leaves = {
            "tau_mem": self.tau_mem,
            "tau_adp": self.tau_adp,
            "v_threshold": self.v_threshold,
        }
        return draw_params(key, shape, dtype, positive=leaves)

    def init_state(
        self, params: Params, shape: tuple[int, ...], key: Array | None = None
    ) -> ALIFState:
        """Membrane 0, adaptation at `v_threshold`, no spike.

        With a key the membrane is uniform in `[0, v_threshold)`, the paper's start for ECG. NaN
        where the threshold is not positive.
        """
        threshold = params["v_threshold"]
        v = membrane_at_rest(shape, 0.0, threshold, key, threshold)
        return ALIFState(v, jnp.broadcast_to(threshold, shape), jnp.zeros(shape, threshold.dtype))

    def step(self, params: Params, state: ALIFState, current: Array) -> tuple[ALIFState, Array]:
        """One step of `alif_step`."""
        state = ALIFState(
            *alif_step(
                *state,
                current,
                **params,
                beta=self.beta,
                dt=self.dt,
                strict=self.strict,
                detach_reset=self.detach_reset,
                surrogate=self.surrogate,
            )
        )
        return state, state.spikes

    def potential(self, state: ALIFState) -> Array:
        """Membrane before its reset, which comes with the next step."""
        return state.v

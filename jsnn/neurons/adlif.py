"""Leaky integrate-and-fire neuron with an adaptation current, in the form of sparch."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.neurons._decay import decay
from jsnn.neurons.initial import Initial, Uniform, check_initial, draw_params
from jsnn.neurons.protocol import NeuronOps, Params, membrane_at_rest
from jsnn.neurons.reset import check_dt
from jsnn.neurons.trained import Factor, Range, Shift, check_trainable
from jsnn.surrogate import Boxcar, Surrogate

# Ranges of github.com/idiap/sparch, f8756254 (EXACT), in steps of 1 ms. It draws the decays
# uniformly in these ranges and clips them there; here the time constants are.
_TAU_MEM = Uniform(5e-3, 25e-3)
_TAU_ADP = Uniform(30e-3, 120e-3)
_A = Uniform(-1.0, 1.0)
_B = Uniform(0.0, 2.0)
_SURROGATE = Boxcar()


class AdLIFState(NamedTuple):
    """Membrane before its reset, adaptation current, spikes of the last step, each `[B, ...]`."""

    v: Array
    adaptation: Array
    spikes: Array


def adlif_step(
    v: Array,
    adaptation: Array,
    spikes: Array,
    current: Array,
    *,
    tau_mem: Array,
    tau_adp: Array,
    a: Array,
    b: Array,
    v_threshold: Array,
    dt: float,
    surrogate: Surrogate,
    strict: bool = True,
    detach_reset: bool = False,
) -> tuple[Array, Array, Array]:
    """One step of the adaptive neuron (Bittar & Garner 2022; order after the code of sparch).

    With `α = exp(−dt/τ_mem)`, `β = exp(−dt/τ_adp)`, and v and s those of the step before:

    1. `w ← β w + a v + b s`;
    2. `v ← α (v − s v_threshold) + (1−α) (I − w)`: a soft reset one step late;
    3. `s = H(v − v_threshold)`.

    sparch has the threshold 1 fixed and clips its decays and a, b to ranges while training (see
    `AdLIF`). The symplectic form (SE-adLIF) is another neuron model.

    Args:
        v, adaptation, spikes: state, `[B, ...]`.
        current: `[B, ...]`.
        tau_mem, tau_adp: in s, broadcast from the right, like a, b and v_threshold.
        a: adaptation current per unit of membrane and step.
        b: adaptation current per spike.
        dt: time step, in s.
        surrogate: derivative of the spike.
        strict: fire above the threshold, as sparch does.
        detach_reset: no gradient through the spikes of the reset; the adaptation keeps its own.

    Returns:
        Membrane, adaptation current and spikes, `[B, ...]`.

    Example:
        >>> zero, one = jnp.zeros(1), jnp.ones(1)
        >>> leaves = {"tau_mem": 20e-3 * one, "tau_adp": 60e-3 * one, "a": zero, "b": one}
        >>> v, w, s = adlif_step(zero, zero, zero, 30 * one, **leaves, v_threshold=one, dt=1e-3,
        ...     surrogate=Boxcar())
        >>> v, s
        (Array([1.46311], dtype=float32), Array([1.], dtype=float32))
    """
    alpha, beta = decay(tau_mem, dt), decay(tau_adp, dt)
    adaptation = beta * adaptation + a * v + b * spikes
    sent = jax.lax.stop_gradient(spikes) if detach_reset else spikes
    v = alpha * (v - sent * v_threshold) + (1 - alpha) * (current - adaptation)
    return v, adaptation, surrogate(v - v_threshold, strict)


@dataclasses.dataclass(frozen=True)
class AdLIF:
    """Population with an adaptation current, see `adlif_step`. The late soft reset is fixed.

    Leaves: `tau_mem`, `tau_adp` (s), `v_threshold`, `a`, `b`. All but the threshold start in the
    ranges of sparch and are trained within them, as in its code (f8756254): time constants of 5 to
    25 and 30 to 120 steps, a from -1 to 1, b from 0 to 2. An initial value outside its range is
    itself a bound.

    Raises:
        ValueError: a time constant, threshold or dt that is not positive; `trainable` names no
            leaf.

    Example:
        >>> neuron = AdLIF()
        >>> params = neuron.init_params(jax.random.key(0), (3,))
        >>> sorted(params)
        ['a', 'b', 'tau_adp', 'tau_mem', 'v_threshold']
    """

    tau_mem: Initial = _TAU_MEM
    tau_adp: Initial = _TAU_ADP
    a: Initial = _A
    b: Initial = _B
    v_threshold: Initial = 1.0
    dt: float = 1e-3
    strict: bool = True
    detach_reset: bool = False
    surrogate: Surrogate = _SURROGATE
    trainable: tuple[str, ...] = ("tau_mem", "tau_adp", "a", "b")

    spiking: ClassVar[bool] = True

    def __post_init__(self):
        check_initial(self, "tau_mem", "tau_adp", "v_threshold", positive=True)
        check_initial(self, "a", "b", positive=False)
        check_dt(self)
        check_trainable(self)

    @property
    def ranges(self) -> dict[str, Range]:
        """Those of sparch, in steps; a and b may be zero or negative."""
        return {
            "tau_mem": Factor(5 * self.dt, 25 * self.dt),
            "tau_adp": Factor(30 * self.dt, 120 * self.dt),
            "v_threshold": Factor(),
            "a": Shift(-1.0, 1.0),
            "b": Shift(0.0, 2.0),
        }

    @property
    def ops(self) -> NeuronOps:
        """Multiplies: `β w`, `a v`, `α v`, `(1−α) w`. Adds: one for w, two for v. One compare.

        A spike adds b to the adaptation and takes `α v_threshold` from the membrane.
        """
        return NeuronOps(2, 4, 3, 1, 2)

    def init_params(self, key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Params:
        """`tau_mem`, `tau_adp` (s), `v_threshold`, `a` and `b`, each of this feature shape."""
        positive = {
            "tau_mem": self.tau_mem,
            "tau_adp": self.tau_adp,
            "v_threshold": self.v_threshold,
        }
        return draw_params(key, shape, dtype, positive=positive, free={"a": self.a, "b": self.b})

    def init_state(
        self, params: Params, shape: tuple[int, ...], key: Array | None = None
    ) -> AdLIFState:
        """All zero; with a key the membrane is uniform in `[0, v_threshold)`.

        sparch draws all three, spikes included, from U(0, 1). NaN where the threshold is not
        positive.
        """
        threshold = params["v_threshold"]
        zero = jnp.zeros(shape, threshold.dtype)
        v = membrane_at_rest(shape, 0.0, threshold, key, threshold)
        return AdLIFState(v, zero, zero)

    def step(self, params: Params, state: AdLIFState, current: Array) -> tuple[AdLIFState, Array]:
        """One step of `adlif_step`."""
        state = AdLIFState(
            *adlif_step(
                *state,
                current,
                **params,
                dt=self.dt,
                strict=self.strict,
                detach_reset=self.detach_reset,
                surrogate=self.surrogate,
            )
        )
        return state, state.spikes

    def potential(self, state: AdLIFState) -> Array:
        """Membrane before its reset, which comes with the next step."""
        return state.v

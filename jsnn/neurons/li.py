"""Leaky integrator without spikes: the usual readout neuron."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jax import Array

from jsnn.neurons._decay import decay
from jsnn.neurons.initial import Initial, check_initial, draw_params
from jsnn.neurons.protocol import NeuronOps, Params, membrane_at_rest
from jsnn.neurons.reset import check_dt
from jsnn.neurons.trained import Factor, Range, check_trainable


class LIState(NamedTuple):
    """Membrane, `[B, ...]`."""

    v: Array


def li_step(
    v: Array,
    current: Array,
    *,
    tau_mem: Array,
    r: Array,
    dt: float,
    v_leak: float = 0.0,
    scale_input: bool = True,
) -> Array:
    """One step of a leaky integrator: `v ← v_leak + a (v − v_leak) + g I`.

    `a = exp(−dt/τ_mem)`, `g = (1−a) r` if `scale_input` else `r`. Units and shapes as in
    `jsnn.neurons.lif_step`; returns the membrane `[B, ...]`.

    Example:
        >>> one = jnp.ones(1)
        >>> li_step(one, one, tau_mem=20e-3 * one, r=one, dt=1e-3)
        Array([1.], dtype=float32)
    """
    a = decay(tau_mem, dt)
    gain = (1 - a) * r if scale_input else r
    return v_leak + a * (v - v_leak) + gain * current


@dataclasses.dataclass(frozen=True)
class LI:
    """Leaky integrator population, see `li_step`. Its "spikes" are its membrane.

    Leaves: `tau_mem` (s), `r`, trained where `trainable` names them; none by default. With the
    defaults the membrane is a running mean of the current, the readout of Yin, Corradi & Bohté 2021
    (SHD) and of Higuchi 2024.

    Raises:
        ValueError: a time constant, r or dt that is not positive; `trainable` names no leaf.

    Example:
        >>> import jax
        >>> neuron = LI()
        >>> params = neuron.init_params(jax.random.key(0), (3,))
        >>> state, v = neuron.step(params, neuron.init_state(params, (2, 3)), jnp.ones((2, 3)))
        >>> bool((v == neuron.potential(state)).all())
        True
    """

    tau_mem: Initial = 20e-3
    r: Initial = 1.0
    v_leak: float = 0.0
    dt: float = 1e-3
    scale_input: bool = True
    trainable: tuple[str, ...] = ()

    spiking: ClassVar[bool] = False

    def __post_init__(self):
        check_initial(self, "tau_mem", "r", positive=True)
        check_dt(self)
        check_trainable(self)

    @property
    def ranges(self) -> dict[str, Range]:
        """Every leaf is positive."""
        return {"tau_mem": Factor(), "r": Factor()}

    @property
    def ops(self) -> NeuronOps:
        """`a·v + I` is a multiply and an add; a rest other than 0 is one more add."""
        return NeuronOps(1, 1, 1 + int(self.v_leak != 0), 0, 0)

    def init_params(self, key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Params:
        """`tau_mem` (s) and `r`, each of this feature shape."""
        leaves = {"tau_mem": self.tau_mem, "r": self.r}
        return draw_params(key, shape, dtype, positive=leaves)

    def init_state(
        self, params: Params, shape: tuple[int, ...], key: Array | None = None
    ) -> LIState:
        """Membrane at `v_leak`; with a key uniform in `[v_leak, v_leak + 1)`."""
        scalar = jnp.ones((), params["tau_mem"].dtype)
        return LIState(membrane_at_rest(shape, self.v_leak, scalar, key))

    def step(self, params: Params, state: LIState, current: Array) -> tuple[LIState, Array]:
        """One step of `li_step`; the second result is the membrane."""
        v = li_step(
            state.v,
            current,
            **params,
            dt=self.dt,
            v_leak=self.v_leak,
            scale_input=self.scale_input,
        )
        return LIState(v), v

    def potential(self, state: LIState) -> Array:
        """The membrane."""
        return state.v

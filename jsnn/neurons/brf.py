"""Resonate-and-fire neurons: the balanced one of Higuchi 2024, and the plain one."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jax import Array

from jsnn.neurons.initial import Initial, Normal, Uniform, check_initial, draw_params
from jsnn.neurons.protocol import NeuronOps, Params, membrane_at_rest
from jsnn.neurons.reset import check_dt
from jsnn.neurons.trained import Factor, Range, check_trainable
from jsnn.surrogate import DoubleGaussian, Surrogate

# Start for ECG in github.com/AdaptiveAILab/brf-neurons, 5d45b0e7 (EXACT).
_OMEGA = Uniform(3.0, 5.0)
_B_OFFSET = Uniform(0.1, 1.0)
_SURROGATE = DoubleGaussian()


class BRFState(NamedTuple):
    """Real part (the membrane), imaginary part and refractory period, each `[B, ...]`."""

    u: Array
    v: Array
    q: Array


class RFState(NamedTuple):
    """Real part (the membrane) and imaginary part, each `[B, ...]`."""

    u: Array
    v: Array


def divergence_boundary(omega: Array, dt: float) -> Array:
    """Largest damping factor without growth, `p(ω) = (−1 + √(1 − (dt ω)²)) / dt`, in 1/s.

    Exists for `dt |ω| ≤ 1`. A draw of a Normal can lie beyond; from `(dt ω)² = 1 − 10⁻⁶` on the
    root is held at 10⁻³, which keeps value and gradient finite and alters no ω below 0.9999995/dt.

    Example:
        >>> divergence_boundary(jnp.array([0.0, 10.0]), 0.01)
        Array([ 0.       , -0.5012572], dtype=float32)
    """
    return (jnp.sqrt(jnp.maximum(1 - (dt * omega) ** 2, 1e-6)) - 1) / dt


def rotate(
    u: Array, v: Array, current: Array, *, b: Array, omega: Array, dt: float
) -> tuple[Array, Array]:
    """One explicit Euler step of a damped oscillator driven by a current.

    `u ← u + dt (b u − ω v + I)`, `v ← v + dt (ω u + b v)`, both from the state before.

    Example:
        >>> rotate(jnp.ones(1), jnp.zeros(1), 0.0, b=-1.0, omega=5.0, dt=0.01)
        (Array([0.99], dtype=float32), Array([0.05], dtype=float32))
    """
    return u + dt * (b * u - omega * v + current), v + dt * (omega * u + b * v)


def brf_step(
    u: Array,
    v: Array,
    q: Array,
    current: Array,
    *,
    omega: Array,
    b_offset: Array,
    dt: float = 0.01,
    v_threshold: float = 1.0,
    gamma: float = 0.9,
    strict: bool = True,
    surrogate: Surrogate,
) -> tuple[Array, Array, Array, Array]:
    """One step of the balanced resonate-and-fire neuron (Higuchi 2024, order after its code).

    `b = p(|ω|) − |b_offset| − q` with the divergence boundary p, one step of `rotate`,
    `z = H(u − v_threshold − q)`, `q ← γ q + z`. There is no reset: the refractory period q lifts
    the threshold and damps the oscillation instead.

    Args:
        u, v, q: state, `[B, ...]`.
        current: `[B, ...]`.
        omega: angular frequency, in 1/s, broadcasts from the right, like b_offset.
        b_offset: distance of the damping from the divergence boundary, in 1/s.
        dt: time step, in s.
        v_threshold: threshold at rest.
        gamma: decay of the refractory period per step.
        strict: fire above the threshold, as the paper does.
        surrogate: derivative of the spike.

    Returns:
        u, v, q and spikes, `[B, ...]`.

    Example:
        >>> zero, one = jnp.zeros(1), jnp.ones(1)
        >>> leaves = {"omega": 5 * one, "b_offset": one}
        >>> kick = 150 * one
        >>> u, v, q, z = brf_step(zero, zero, zero, kick, **leaves, surrogate=DoubleGaussian())
        >>> u, q, z
        (Array([1.5], dtype=float32), Array([1.], dtype=float32), Array([1.], dtype=float32))
    """
    omega = jnp.abs(omega)
    b = divergence_boundary(omega, dt) - jnp.abs(b_offset) - q
    u, v = rotate(u, v, current, b=b, omega=omega, dt=dt)
    spikes = surrogate(u - v_threshold - q, strict)
    return u, v, gamma * q + spikes, spikes


def rf_step(
    u: Array,
    v: Array,
    current: Array,
    *,
    omega: Array,
    b_offset: Array,
    dt: float = 0.01,
    v_threshold: float = 1.0,
    strict: bool = True,
    surrogate: Surrogate,
) -> tuple[Array, Array, Array]:
    """One step of the resonate-and-fire neuron without reset: `b = −|b_offset|`, no refractoriness.

    Arguments as in `brf_step`; returns u, v and spikes, `[B, ...]`. Grows without bound where
    `−|b_offset|` lies above the divergence boundary of its frequency.

    Example:
        >>> zero, one = jnp.zeros(1), jnp.ones(1)
        >>> leaves = {"omega": 5 * one, "b_offset": one}
        >>> rf_step(one, zero, zero, **leaves, surrogate=DoubleGaussian())
        (Array([0.99], dtype=float32), Array([0.05], dtype=float32), Array([0.], dtype=float32))
    """
    omega = jnp.abs(omega)
    u, v = rotate(u, v, current, b=-jnp.abs(b_offset), omega=omega, dt=dt)
    return u, v, surrogate(u - v_threshold, strict)


def _check(neuron: BRF | RF) -> None:
    name = type(neuron).__name__
    check_initial(neuron, "omega", "b_offset", positive=True)
    check_dt(neuron)
    if not neuron.v_threshold > 0:
        raise ValueError(f"{name}: v_threshold must be positive, got {neuron.v_threshold!r}")
    match neuron.omega:
        case Uniform(_, high):
            largest = high
        case Normal(mean, _):
            largest = mean
        case number:
            largest = number
    if neuron.dt * largest > 1:
        raise ValueError(
            f"{name}: dt * omega must stay within 1, else every oscillation grows; got omega "
            f"{neuron.omega!r} and dt {neuron.dt!r} s; lower either"
        )


@dataclasses.dataclass(frozen=True)
class BRF:
    """Balanced resonate-and-fire population, see `brf_step`.

    Leaves: `omega` (1/s) and `b_offset` (1/s), both trained, as in the paper and its code. Only
    their magnitudes count, so both stay positive. The defaults are the start for ECG in the paper's
    code, `omega` in U(3, 5) and `b_offset` in U(0.1, 1); SHD takes U(5, 10) and U(2, 3). `dt` is
    0.01 whatever the data's own step is.

    Raises:
        ValueError: omega, b_offset, dt or threshold that is not positive; `dt·omega > 1`; a
            gamma outside [0, 1); `trainable` names no leaf.

    Example:
        >>> import jax
        >>> neuron = BRF()
        >>> params = neuron.init_params(jax.random.key(0), (3,))
        >>> sorted(params)
        ['b_offset', 'omega']
    """

    omega: Initial = _OMEGA
    b_offset: Initial = _B_OFFSET
    v_threshold: float = 1.0
    gamma: float = 0.9
    dt: float = 0.01
    strict: bool = True
    surrogate: Surrogate = _SURROGATE
    trainable: tuple[str, ...] = ("omega", "b_offset")

    spiking: ClassVar[bool] = True

    def __post_init__(self):
        _check(self)
        if not 0 <= self.gamma < 1:
            raise ValueError(f"BRF: gamma must lie in [0, 1), got {self.gamma!r}")
        check_trainable(self)

    @property
    def ranges(self) -> dict[str, Range]:
        """Both count by their magnitude; `dt·omega` stays within 1, else oscillations grow."""
        return {"omega": Factor(high=1 / self.dt), "b_offset": Factor()}

    @property
    def ops(self) -> NeuronOps:
        """Per step, with `B = 1 + dt b = c − dt q` and `W = dt ω` (c and W are constants).

        A machine keeps u, v and q times dt, a constant gain that the weights and the threshold
        take up, so that `dt q` is no product. Multiplies: `B u`, `W v`, `W u`, `B v`, `γ q`. Adds:
        B, two for u (with the current), one for v, one for the lifted threshold. A spike adds to q.
        """
        return NeuronOps(3, 5, 5, 1, 1)

    def init_params(self, key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Params:
        """`omega` and `b_offset` (1/s), each of this feature shape."""
        leaves = {"omega": self.omega, "b_offset": self.b_offset}
        return draw_params(key, shape, dtype, positive=leaves)

    def init_state(
        self, params: Params, shape: tuple[int, ...], key: Array | None = None
    ) -> BRFState:
        """All zero; with a key the real part is uniform in `[0, v_threshold)`."""
        dtype = params["omega"].dtype
        span = jnp.full((), self.v_threshold, dtype)
        zero = jnp.zeros(shape, dtype)
        return BRFState(membrane_at_rest(shape, 0.0, span, key), zero, zero)

    def step(self, params: Params, state: BRFState, current: Array) -> tuple[BRFState, Array]:
        """One step of `brf_step`."""
        *state, spikes = brf_step(
            *state,
            current,
            **params,
            dt=self.dt,
            v_threshold=self.v_threshold,
            gamma=self.gamma,
            strict=self.strict,
            surrogate=self.surrogate,
        )
        return BRFState(*state), spikes

    def potential(self, state: BRFState) -> Array:
        """Real part of the oscillation."""
        return state.u


@dataclasses.dataclass(frozen=True)
class RF:
    """Resonate-and-fire population without reset, see `rf_step`; the baseline of Higuchi 2024.

    Leaves: `omega` and `b_offset` (1/s), trained as those of `BRF`. The surrogate of its code is
    the same double Gaussian.

    Raises:
        ValueError: omega, b_offset, dt or threshold that is not positive; `dt·omega > 1`;
            `trainable` names no leaf.

    Example:
        >>> import jax
        >>> neuron = RF()
        >>> params = neuron.init_params(jax.random.key(0), (3,))
        >>> state, spikes = neuron.step(params, neuron.init_state(params, (2, 3)), jnp.ones((2, 3)))
        >>> state.u
        Array([[0.01, 0.01, 0.01],
               [0.01, 0.01, 0.01]], dtype=float32)
    """

    omega: Initial = _OMEGA
    b_offset: Initial = _B_OFFSET
    v_threshold: float = 1.0
    dt: float = 0.01
    strict: bool = True
    surrogate: Surrogate = _SURROGATE
    trainable: tuple[str, ...] = ("omega", "b_offset")

    spiking: ClassVar[bool] = True

    def __post_init__(self):
        _check(self)
        check_trainable(self)

    @property
    def ranges(self) -> dict[str, Range]:
        """Both count by their magnitude; `dt·omega` stays within 1, else oscillations grow."""
        return {"omega": Factor(high=1 / self.dt), "b_offset": Factor()}

    @property
    def ops(self) -> NeuronOps:
        """Four products with constants; two adds for u (with the current) and one for v."""
        return NeuronOps(2, 4, 3, 1, 0)

    def init_params(self, key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Params:
        """`omega` and `b_offset` (1/s), each of this feature shape."""
        leaves = {"omega": self.omega, "b_offset": self.b_offset}
        return draw_params(key, shape, dtype, positive=leaves)

    def init_state(
        self, params: Params, shape: tuple[int, ...], key: Array | None = None
    ) -> RFState:
        """All zero; with a key the real part is uniform in `[0, v_threshold)`."""
        dtype = params["omega"].dtype
        span = jnp.full((), self.v_threshold, dtype)
        return RFState(membrane_at_rest(shape, 0.0, span, key), jnp.zeros(shape, dtype))

    def step(self, params: Params, state: RFState, current: Array) -> tuple[RFState, Array]:
        """One step of `rf_step`."""
        *state, spikes = rf_step(
            *state,
            current,
            **params,
            dt=self.dt,
            v_threshold=self.v_threshold,
            strict=self.strict,
            surrogate=self.surrogate,
        )
        return RFState(*state), spikes

    def potential(self, state: RFState) -> Array:
        """Real part of the oscillation."""
        return state.u

"""Spike functions: a step forward, a named surrogate derivative backward.

Every surrogate is a frozen dataclass: equal hyper-parameters are equal static arguments of `jit`,
which two closures never are. `x` is the membrane minus the threshold.

A surrogate of one's own is one line, `Custom(lambda x: jnp.exp(-jnp.abs(x)))`, with the function
kept in one place: two lambdas of the same text are different.

The spike function has a `jax.custom_vjp`: reverse mode only, no `jvp`, no `jacfwd`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def spike(x: Array, surrogate: Surrogate, strict: bool = False) -> Array:
    """Spikes `H(x)` in {0, 1}, with `surrogate.derivative(x)` as the derivative backward.

    Args:
        x: membrane minus threshold, any shape, floating.
        surrogate: what stands in for the derivative of the step.
        strict: fire at `x > 0` instead of `x >= 0`.

    Raises:
        ValueError: x is not floating; integers carry no gradient.

    Example:
        >>> spike(jnp.array([-1.0, 0.0, 1.0]), ATan())
        Array([0., 1., 1.], dtype=float32)
        >>> spike(jnp.array([-1.0, 0.0, 1.0]), ATan(), strict=True)
        Array([0., 0., 1.], dtype=float32)
        >>> jax.vmap(jax.grad(ATan()))(jnp.array([-0.5, 0.5]))
        Array([0.2884, 0.2884], dtype=float32)
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"a spike function needs a floating membrane, got {x.dtype}; convert it")
    return _spike(surrogate, strict, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _spike(surrogate, strict, x):
    fired = x > 0 if strict else x >= 0
    return fired.astype(x.dtype)


def _spike_forward(surrogate, strict, x):
    return _spike(surrogate, strict, x), x


def _spike_backward(surrogate, strict, x, cotangent):
    return (cotangent * surrogate.derivative(x),)


_spike.defvjp(_spike_forward, _spike_backward)


class Surrogate:
    """Base of every surrogate: `derivative(x)`, and a call that is the spike function."""

    def derivative(self, x: Array) -> Array:
        """Stand-in for the derivative of the step, same shape and dtype as x."""
        raise TypeError(f"{type(self).__name__} defines no derivative(x); a surrogate needs one")

    def __call__(self, x: Array, strict: bool = False) -> Array:
        """Spikes of x, see `spike`."""
        return spike(x, self, strict)


def _require(surrogate: Surrogate, name: str, legal: bool, expected: str) -> None:
    if not legal:
        value = getattr(surrogate, name)
        raise ValueError(f"{type(surrogate).__name__}: {name} must be {expected}, got {value!r}")


def _require_positive(surrogate: Surrogate, *names: str) -> None:
    for name in names:
        _require(surrogate, name, getattr(surrogate, name) > 0, "positive")


def _normal(x: Array, mean: float, sigma: float) -> Array:
    return jnp.exp(-0.5 * ((x - mean) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))


@dataclasses.dataclass(frozen=True)
class PiecewiseQuadratic(Surrogate):
    """`α − α²|x|` where `|x| ≤ 1/α`, else 0: a triangle of area 1 (SpikingJelly)."""

    alpha: float = 1.0

    def __post_init__(self):
        _require_positive(self, "alpha")

    def derivative(self, x: Array) -> Array:
        """`max(α − α²|x|, 0)`."""
        return jnp.maximum(self.alpha - self.alpha**2 * jnp.abs(x), 0)


@dataclasses.dataclass(frozen=True)
class Triangle(Surrogate):
    """`max(γ − |x|, 0) / γ²`: `PiecewiseQuadratic(1/γ)` by its width (TET, Deng 2022)."""

    gamma: float = 1.0

    def __post_init__(self):
        _require_positive(self, "gamma")

    def derivative(self, x: Array) -> Array:
        """`max(γ − |x|, 0) / γ²`."""
        return jnp.maximum(self.gamma - jnp.abs(x), 0) / self.gamma**2


@dataclasses.dataclass(frozen=True)
class PiecewiseExponential(Surrogate):
    """`(α/2) exp(−α|x|)`, area 1 (SpikingJelly)."""

    alpha: float = 1.0

    def __post_init__(self):
        _require_positive(self, "alpha")

    def derivative(self, x: Array) -> Array:
        """`(α/2) exp(−α|x|)`."""
        return 0.5 * self.alpha * jnp.exp(-self.alpha * jnp.abs(x))


@dataclasses.dataclass(frozen=True)
class Sigmoid(Surrogate):
    """`α σ(αx) (1 − σ(αx))`, area 1 (SpikingJelly)."""

    alpha: float = 4.0

    def __post_init__(self):
        _require_positive(self, "alpha")

    def derivative(self, x: Array) -> Array:
        """`α σ(αx) (1 − σ(αx))`."""
        s = jax.nn.sigmoid(self.alpha * x)
        return self.alpha * s * (1 - s)


@dataclasses.dataclass(frozen=True)
class SoftSign(Surrogate):
    """`α / (2 (1 + |αx|)²)`, area 1 (SpikingJelly)."""

    alpha: float = 2.0

    def __post_init__(self):
        _require_positive(self, "alpha")

    def derivative(self, x: Array) -> Array:
        """`α / (2 (1 + |αx|)²)`."""
        return 0.5 * self.alpha / (1 + self.alpha * jnp.abs(x)) ** 2


@dataclasses.dataclass(frozen=True)
class SuperSpike(Surrogate):
    """`1 / (β|x| + 1)²`: height 1, area 2/β (Zenke & Ganguli 2018).

    Also called "fast sigmoid", after the function it is the derivative of; `FastSigmoid` is this
    class. SpikingJelly's form of the name is `ScaledSuperSpike`.
    """

    beta: float = 10.0

    def __post_init__(self):
        _require_positive(self, "beta")

    def derivative(self, x: Array) -> Array:
        """`1 / (β|x| + 1)²`."""
        return 1 / (self.beta * jnp.abs(x) + 1) ** 2


FastSigmoid = SuperSpike


@dataclasses.dataclass(frozen=True)
class ScaledSuperSpike(Surrogate):
    """`α / (1 + |x|)²`: SuperSpike as SpikingJelly writes it; α is its height, not its slope."""

    alpha: float = 1.0

    def __post_init__(self):
        _require_positive(self, "alpha")

    def derivative(self, x: Array) -> Array:
        """`α / (1 + |x|)²`."""
        return self.alpha / (1 + jnp.abs(x)) ** 2


@dataclasses.dataclass(frozen=True)
class ATan(Surrogate):
    """`α / (2 (1 + (παx/2)²))`, area 1 (SpikingJelly, α = 2; DCLS uses 5)."""

    alpha: float = 2.0

    def __post_init__(self):
        _require_positive(self, "alpha")

    def derivative(self, x: Array) -> Array:
        """`α / (2 (1 + (παx/2)²))`."""
        return 0.5 * self.alpha / (1 + (0.5 * math.pi * self.alpha * x) ** 2)


@dataclasses.dataclass(frozen=True)
class Erf(Surrogate):
    """`(α/√π) exp(−α²x²)`, area 1 (SpikingJelly)."""

    alpha: float = 2.0

    def __post_init__(self):
        _require_positive(self, "alpha")

    def derivative(self, x: Array) -> Array:
        """`(α/√π) exp(−α²x²)`."""
        return self.alpha / math.sqrt(math.pi) * jnp.exp(-((self.alpha * x) ** 2))


@dataclasses.dataclass(frozen=True)
class Boxcar(Surrogate):
    """1 for `−w/2 < x ≤ w/2`, else 0 (sparch, w = 1)."""

    width: float = 1.0

    def __post_init__(self):
        _require_positive(self, "width")

    def derivative(self, x: Array) -> Array:
        """1 inside the half-open window, else 0."""
        half = 0.5 * self.width
        return ((x > -half) & (x <= half)).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class Slayer(Surrogate):
    """`c (α/2) exp(−α|x|)` (SLAYER, Shrestha & Orchard 2018; c = 0.4 for SHD, 0.2 for ECG)."""

    alpha: float = 5.0
    c: float = 0.4

    def __post_init__(self):
        _require_positive(self, "alpha", "c")

    def derivative(self, x: Array) -> Array:
        """`c (α/2) exp(−α|x|)`."""
        return self.c * 0.5 * self.alpha * jnp.exp(-self.alpha * jnp.abs(x))


@dataclasses.dataclass(frozen=True)
class Gaussian(Surrogate):
    """`γ N(x; 0, σ)` (Yin, Corradi & Bohté 2021)."""

    sigma: float = 0.5
    gamma: float = 0.5

    def __post_init__(self):
        _require_positive(self, "sigma", "gamma")

    def derivative(self, x: Array) -> Array:
        """`γ N(x; 0, σ)`."""
        return self.gamma * _normal(x, 0.0, self.sigma)


@dataclasses.dataclass(frozen=True)
class MultiGaussian(Surrogate):
    """`γ [(1+h) N(x; 0, σ) − h N(x; σ, sσ) − h N(x; −σ, sσ)]` (Yin, Corradi & Bohté 2021).

    Negative beyond about ±1.27: neurons far from their threshold are pushed the other way.
    """

    gamma: float = 0.5
    h: float = 0.15
    s: float = 6.0
    sigma: float = 0.5

    def __post_init__(self):
        _require_positive(self, "gamma", "s", "sigma")
        _require(self, "h", self.h >= 0, "zero or positive")

    def derivative(self, x: Array) -> Array:
        """`γ [(1+h) N(x; 0, σ) − h N(x; σ, sσ) − h N(x; −σ, sσ)]`."""
        wide = self.s * self.sigma
        lobes = _normal(x, self.sigma, wide) + _normal(x, -self.sigma, wide)
        return self.gamma * ((1 + self.h) * _normal(x, 0.0, self.sigma) - self.h * lobes)


@dataclasses.dataclass(frozen=True)
class DoubleGaussian(Surrogate):
    """`γ [(1+h) N(x; 0, σ) − 2h N(x; 0, sσ)]` (Higuchi 2024, code of the BRF neuron)."""

    gamma: float = 0.5
    h: float = 0.15
    s: float = 6.0
    sigma: float = 0.5

    def __post_init__(self):
        _require_positive(self, "gamma", "s", "sigma")
        _require(self, "h", self.h >= 0, "zero or positive")

    def derivative(self, x: Array) -> Array:
        """`γ [(1+h) N(x; 0, σ) − 2h N(x; 0, sσ)]`."""
        narrow, wide = _normal(x, 0.0, self.sigma), _normal(x, 0.0, self.s * self.sigma)
        return self.gamma * ((1 + self.h) * narrow - 2 * self.h * wide)


@dataclasses.dataclass(frozen=True)
class LeakyKReLU(Surrogate):
    """`k` for `x ≥ 0`, `leak` below (SpikingJelly)."""

    leak: float = 0.0
    k: float = 1.0

    def derivative(self, x: Array) -> Array:
        """`k` for `x ≥ 0`, `leak` below."""
        return jnp.where(x >= 0, self.k, self.leak).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class PiecewiseLeakyReLU(Surrogate):
    """`1/(2w)` where `|x| < w`, `c` outside (SpikingJelly)."""

    w: float = 1.0
    c: float = 0.01

    def __post_init__(self):
        _require_positive(self, "w")

    def derivative(self, x: Array) -> Array:
        """`1/(2w)` where `|x| < w`, `c` outside."""
        return jnp.where(jnp.abs(x) < self.w, 0.5 / self.w, self.c).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class NonzeroSignLogAbs(Surrogate):
    """`α / (1 + α|x|)`: the derivative of `sign(x) log(1 + α|x|)` (SpikingJelly)."""

    alpha: float = 1.0

    def __post_init__(self):
        _require_positive(self, "alpha")

    def derivative(self, x: Array) -> Array:
        """`α / (1 + α|x|)`."""
        return self.alpha / (1 + self.alpha * jnp.abs(x))


@dataclasses.dataclass(frozen=True)
class QPseudoSpike(Surrogate):
    """`(1 + 2|x|/(α−1))^(−α)` with α > 1: a tail of any weight (SpikingJelly)."""

    alpha: float = 2.0

    def __post_init__(self):
        _require(self, "alpha", self.alpha > 1, "above 1")

    def derivative(self, x: Array) -> Array:
        """`(1 + 2|x|/(α−1))^(−α)`."""
        return (1 + 2 / (self.alpha - 1) * jnp.abs(x)) ** (-self.alpha)


@dataclasses.dataclass(frozen=True)
class S2NN(Surrogate):
    """`α σ(αx)(1 − σ(αx))` for `x < 0`, `β/(1 + x)` from 0 on (SpikingJelly)."""

    alpha: float = 4.0
    beta: float = 1.0

    def __post_init__(self):
        _require_positive(self, "alpha", "beta")

    def derivative(self, x: Array) -> Array:
        """`α σ(αx)(1 − σ(αx))` for `x < 0`, `β/(1 + x)` from 0 on."""
        below = Sigmoid(self.alpha).derivative(x)
        return jnp.where(x < 0, below, self.beta / (1 + jnp.maximum(x, 0)))


@dataclasses.dataclass(frozen=True)
class FakeNumericalGradient(Surrogate):
    """`min(1/|x|, α)`: the step's own difference quotient, bounded (SpikingJelly)."""

    alpha: float = 0.3

    def __post_init__(self):
        _require_positive(self, "alpha")

    def derivative(self, x: Array) -> Array:
        """`min(1/|x|, α)`."""
        return 1 / jnp.maximum(jnp.abs(x), 1 / self.alpha)


@dataclasses.dataclass(frozen=True)
class Scaled(Surrogate):
    """`factor · surrogate.derivative(x)`: a damped or amplified surrogate.

    Example:
        >>> Scaled(Triangle(), 0.5).derivative(jnp.zeros(1))
        Array([0.5], dtype=float32)
    """

    surrogate: Surrogate
    factor: float

    def __post_init__(self):
        _require_positive(self, "factor")

    def derivative(self, x: Array) -> Array:
        """`factor · surrogate.derivative(x)`."""
        return self.factor * self.surrogate.derivative(x)


@dataclasses.dataclass(frozen=True)
class Custom(Surrogate):
    """A surrogate of one's own: `fn(x)` is the derivative.

    Example:
        >>> mine = Custom(lambda x: jnp.exp(-jnp.abs(x)))
        >>> jax.grad(mine)(jnp.zeros(()))
        Array(1., dtype=float32)
    """

    fn: Callable[[Array], Array]

    def __post_init__(self):
        _require(self, "fn", callable(self.fn), "a function of x")

    def derivative(self, x: Array) -> Array:
        """`fn(x)`."""
        return self.fn(x)


SURROGATES: dict[str, type[Surrogate]] = {
    "piecewise_quadratic": PiecewiseQuadratic,
    "triangle": Triangle,
    "piecewise_exponential": PiecewiseExponential,
    "sigmoid": Sigmoid,
    "soft_sign": SoftSign,
    "super_spike": SuperSpike,
    "fast_sigmoid": FastSigmoid,
    "scaled_super_spike": ScaledSuperSpike,
    "atan": ATan,
    "erf": Erf,
    "boxcar": Boxcar,
    "slayer": Slayer,
    "gaussian": Gaussian,
    "multi_gaussian": MultiGaussian,
    "double_gaussian": DoubleGaussian,
    "leaky_k_relu": LeakyKReLU,
    "piecewise_leaky_relu": PiecewiseLeakyReLU,
    "nonzero_sign_log_abs": NonzeroSignLogAbs,
    "q_pseudo_spike": QPseudoSpike,
    "s2nn": S2NN,
    "fake_numerical_gradient": FakeNumericalGradient,
    "custom": Custom,
}

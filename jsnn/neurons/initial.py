"""Initial values of neuron parameters: one number for all, or a distribution to draw from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array


@dataclasses.dataclass(frozen=True)
class Normal:
    """Normal distribution. A leaf that must be positive takes the absolute value of a draw."""

    mean: float
    std: float

    def __post_init__(self):
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std >= 0):
            raise ValueError(f"Normal needs a finite mean and a std of 0 or more, got {self}")


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniform distribution over `[low, high)`."""

    low: float
    high: float

    def __post_init__(self):
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"Uniform needs finite bounds with low <= high, got {self}")


Initial = float | Normal | Uniform


def draw(initial: Initial, key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """An array of this shape, filled with the number or drawn from the distribution.

    Example:
        >>> draw(2.0, jax.random.key(0), (3,))
        Array([2., 2., 2.], dtype=float32)
    """
    match initial:
        case Normal(mean, std):
            return mean + std * jax.random.normal(key, shape, dtype)
        case Uniform(low, high):
            return jax.random.uniform(key, shape, dtype, low, high)
        case _:
            return jnp.full(shape, initial, dtype)


def draw_params(
    key: Array,
    shape: tuple[int, ...],
    dtype,
    *,
    positive: Mapping[str, Initial],
    free: Mapping[str, Initial] | None = None,
) -> dict[str, Array]:
    """Parameters of one population, each leaf from a key of its own.

    `positive` leaves take the absolute value of their draw: a Normal around a time constant of
    20 ms reaches below zero once in a while, and a population must not start with such a neuron.
    """
    free = free or {}
    keys = iter(jax.random.split(key, len(positive) + len(free)))
    return {name: jnp.abs(draw(v, next(keys), shape, dtype)) for name, v in positive.items()} | {
        name: draw(v, next(keys), shape, dtype) for name, v in free.items()
    }


def check_initial(owner: object, *names: str, positive: bool) -> None:
    """Raise ValueError unless each named field is a finite number or a distribution.

    With `positive`, a number and the bounds of a Uniform and the mean of a Normal must be above 0.
    """
    for name in names:
        value = getattr(owner, name)
        match value:
            case Normal(mean, _):
                centre = mean
            case Uniform(low, _):
                centre = low
            case bool():
                centre = None
            case int() | float():
                centre = value if math.isfinite(value) else None
            case _:
                centre = None
        where = f"{type(owner).__name__}.{name}"
        if centre is None:
            raise ValueError(
                f"{where} must be a finite number, Normal(mean, std) or Uniform(low, high), "
                f"got {value!r}; arrays belong in params"
            )
        if positive and centre <= 0:
            raise ValueError(f"{where} must be positive, got {value!r}")

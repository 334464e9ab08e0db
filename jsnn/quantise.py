"""Fake quantisation with straight-through gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jsnn._straight_through import straight_through

FLOAT_BITS = 32

# Exponents of powers of two: of values of 24 bits the squares, too, are finite in float32.
_EXPONENTS = (-32.0, 32.0)


def grid_step(top: Any, high: Any) -> jax.Array:
    """Step of a grid whose highest level, the integer `high`, lies at `top`: `top / high`.

    At least the smallest normal number of the type: below it processors count as zero, and a value
    divided by a step of zero is not a number. NaN and infinity stay.

    >>> grid_step(jnp.array([1.27, 0.0]), 127).tolist()
    [0.01, 0.0]
    """
    step = jnp.asarray(top) / high
    return jnp.maximum(step, jnp.finfo(step.dtype).tiny)


def in_steps(values: jax.Array, step: Any) -> jax.Array:
    """`values / step`, right for steps of every size.

    Processors divide by multiplying with 1 / step, which is zero for a step of 1e38. Both are
    multiplied by one power of two first, which changes no digit.

    >>> in_steps(jnp.array([3e38, -1e38]), 1e38).tolist()
    [3.0, -1.0]
    """
    exponent = jnp.frexp(step)[1]
    return jnp.ldexp(values, -exponent) / jnp.ldexp(step, -exponent)


def fake_quantise(values: jax.Array, bits: int) -> jax.Array:
    """Values on a symmetric grid of `bits` bits, one scale for the whole array; gradient 1.

    q = s round(x / s),   s = max|x| / (2^(bits - 1) - 1), at least the smallest normal number

    Computed in float32 or wider. One value that is NaN or infinite makes all of them NaN.

    Args:
        values: any shape.
        bits: 2 to 31; 32 means floating point and returns `values` as they are.

    Raises:
        ValueError: bits outside 2 to 32.

    Source: uniform symmetric quantisation with a straight-through estimator (Bengio et al. 2013,
    1308.3432, section 4); max-scaled as in Krishnamoorthi 2018 (1806.08342), section 3.1.

    >>> fake_quantise(jnp.array([1.0, 0.4, -0.7]), 3).tolist()
    [1.0, 0.333, -0.667]
    """
    if not 2 <= bits <= FLOAT_BITS:
        raise ValueError(f"bits must lie in 2 to {FLOAT_BITS} (32: floating point), got {bits}")
    if bits == FLOAT_BITS:
        return values
    wide = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    step = grid_step(jnp.max(jnp.abs(wide)), 2 ** (bits - 1) - 1)
    # The largest finite value, divided and multiplied again, may be rounded to infinity.
    largest = jnp.finfo(wide.dtype).max
    rounded = jnp.clip(jnp.round(in_steps(wide, step)) * step, -largest, largest)
    return values + jax.lax.stop_gradient(rounded - wide).astype(values.dtype)


def round_through(values: jax.Array) -> jax.Array:
    """The nearest integer, ties to even; gradient 1.

    Source: straight-through estimator (Bengio et al. 2013, 1308.3432, section 4).

    >>> jax.value_and_grad(round_through)(2.6)
    (Array(3., dtype=float32, weak_type=True), Array(1., dtype=float32, weak_type=True))
    """
    return straight_through(jnp.round(values), values)


def scale_gradient(values: jax.Array, factor: Any) -> jax.Array:
    """The same values; their gradient times a factor.

    >>> jax.value_and_grad(lambda x: scale_gradient(x, 0.5))(3.0)
    (Array(3., dtype=float32, weak_type=True), Array(0.5, dtype=float32, weak_type=True))
    """
    still = jax.lax.stop_gradient(values)
    return still + factor * (values - still)


@jax.custom_vjp
def bounded(values: jax.Array, low: Any, high: Any) -> jax.Array:
    """Values clipped to `[low, high]`; gradients that lead further out are zero, others pass.

    A plain clip has no gradient outside, so a value that once left would never return.

    >>> [float(jax.grad(lambda x: slope * bounded(x, 2.0, 8.0))(9.0)) for slope in (-1, 1)]
    [0.0, 1.0]
    """
    return jnp.clip(values, low, high)


def _bounded_forward(values, low, high):
    return jnp.clip(values, low, high), (values, low, high)


def _bounded_backward(kept, grad):
    values, low, high = kept
    outwards = ((values >= high) & (grad < 0)) | ((values <= low) & (grad > 0))
    return jnp.where(outwards, jnp.zeros_like(grad), grad), None, None


bounded.defvjp(_bounded_forward, _bounded_backward)


def power_of_two(exponent: Any) -> jax.Array:
    """`2^round(e)`, exactly; gradient `ln 2 · 2^round(e)`, straight through the rounding.

    Exponents are clipped to ±32.

    >>> power_of_two(jnp.array([-3.0, 0.4, 10.0])).tolist()
    [0.125, 1.0, 1024.0]
    """
    exponent = jnp.asarray(exponent)
    whole = jax.lax.stop_gradient(jnp.round(jnp.clip(exponent, *_EXPONENTS)))
    # Not exp2, which is sometimes off by one bit.
    power = jnp.ldexp(jnp.ones((), exponent.dtype), whole.astype(jnp.int32))
    return power + power * jnp.log(jnp.asarray(2, exponent.dtype)) * (
        exponent - jax.lax.stop_gradient(exponent)
    )


def nearest_power_of_two(values: jax.Array) -> jax.Array:
    """`2^round(log2 x)`, exactly; gradient `2^round(log2 x) / x`. From 2^-32 on.

    Products of integers below 2^24 and such a step are exact in float32, so that floating point
    computes as integers do.

    >>> nearest_power_of_two(jnp.array([0.3, 1.0, 6.0])).tolist()
    [0.25, 1.0, 8.0]
    """
    return power_of_two(jnp.log2(jnp.maximum(values, 2.0 ** _EXPONENTS[0])))


def levels(bits: Any) -> tuple[Any, Any]:
    """Lowest and highest integer of so many bits, signed: `-2^(b - 1)` and `2^(b - 1) - 1`.

    >>> [level.tolist() for level in levels(jnp.array([2.0, 8.0]))]
    [[-2.0, -128.0], [1.0, 127.0]]
    """
    # A Python number stays one, and takes on the type of the array it is combined with.
    half = 2.0 ** (round(bits) - 1) if isinstance(bits, int | float) else power_of_two(bits - 1)
    return -half, half - 1


def on_grid(values: jax.Array, step: jax.Array, low: Any, high: Any) -> jax.Array:
    """Values on the grid `step · {low, ..., high}`, with the gradients of learned step sizes.

    q = step · round(clip(x / step, low, high))

    dq/dx = 1 between the ends, 0 beyond; dq/dstep = round(x / step) - x / step between them, `low`
    or `high` beyond; dq/dlow and dq/dhigh = step where that end clips. An infinite x does not
    become the end of the grid but NaN: a network that diverged must be noticed.

    Source: Esser et al. 2020, LSQ (1902.08153), eq. 1-5.

    >>> on_grid(jnp.array([-9.0, 0.3, 9.0]), 0.5, -2.0, 1.0).tolist()
    [-1.0, 0.5, 0.5]
    """
    scaled = in_steps(*map(jax.lax.stop_gradient, (values, step)))
    below, above = scaled <= low, scaled >= high
    end = jnp.where(below, low, high)
    level = jax.lax.stop_gradient(jnp.round(jnp.where(below | above, end, scaled)))
    level = jnp.where(jnp.isinf(values), jnp.nan, level)
    # The slope of x / step in the step has its square below, which is zero for steps of 1e-20.
    soft = jnp.where(below | above, step * end, values + step * (level - scaled))
    return straight_through(step * level, soft)


def lsq(values: jax.Array, step: jax.Array, bits: Any) -> jax.Array:
    """Values on a signed grid of a learned step and learned bits; see `on_grid`.

    q = step · round(clip(x / step, -2^(b - 1), 2^(b - 1) - 1)),   b = round(bits)

    Bits are rounded straight through and move the ends: `dq/db = ± ln 2 · 2^(b - 1) · step` where
    x is clipped. A step that is tied to the bits (`top / (2^(b - 1) - 1)` for a range `top`)
    lets them feel the rounding too.

    Args:
        values: any shape.
        step: broadcasts against values, positive.
        bits: from 2 on, a number or an array that broadcasts; may be traced.

    Raises:
        ValueError: bits below 2 (checked where they are a Python number).

    Source: Esser et al. 2020 (1902.08153), eq. 1-3; learned widths as in Uhlich et al. 2020
    (1905.11452), section 2.

    >>> lsq(jnp.array([-9.0, 0.3, 0.8]), jnp.array(0.25), 3).tolist()
    [-1.0, 0.25, 0.75]
    """
    if isinstance(bits, int | float) and bits < 2:
        raise ValueError(f"a signed grid needs at least 2 bits, got {bits}")
    return on_grid(values, step, *levels(bits))


def lsq_gradient_scale(count: int, bits: Any) -> jax.Array:
    """Factor on the gradient of a step: `1 / sqrt(count · (2^(b - 1) - 1))`, a constant.

    Args:
        count: weights, or features of an activation, that share the step.
        bits: as of `lsq`.

    Source: Esser et al. 2020 (1902.08153), section 2.2.

    >>> round(float(lsq_gradient_scale(100, 3)), 4)
    0.0577
    """
    _, high = levels(bits)
    return jax.lax.stop_gradient(1 / jnp.sqrt(count * high))

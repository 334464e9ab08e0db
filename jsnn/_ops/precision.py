"""Precision of matrix products and convolutions; everything else stays float32."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

Operands = Literal["f32", "bf16"]


@dataclasses.dataclass(frozen=True)
class Precision:
    """Width of the operands of products; sums, currents and neurons stay float32.

    `bf16` rounds both operands to 8 significant bits, adds up in float32, and treats the gradients
    alike: the incoming gradient and the other operand are rounded, the result is float32 (for a
    convolution: rounded once more). 0/1 spikes are exact in it, weights and real inputs are not, so
    a membrane near its threshold may fire otherwise.

    Attributes:
        operands: `f32` or `bf16`.

    Raises:
        ValueError: other operands.

    >>> x, w = jnp.full((1, 1), 1.001), jnp.ones((1, 1))
    >>> Precision("bf16").matmul(x, w)
    Array([[1.]], dtype=float32)
    """

    operands: Operands = "f32"

    def __post_init__(self):
        if self.operands not in ("f32", "bf16"):
            raise ValueError(f"operands must be f32 or bf16, got {self.operands!r}")

    def matmul(self, a: Array, b: Array) -> Array:
        """`[..., K] @ [K, N]`."""
        return jnp.matmul(a, b) if self.operands == "f32" else _narrow_matmul(a, b)

    @property
    def dense(self) -> dict[str, Callable]:
        """Keyword arguments of a `flax.linen.Dense` that computes so; none for `f32`."""
        return {} if self.operands == "f32" else {"dot_general": _dense}

    @property
    def conv(self) -> dict[str, Callable]:
        """Keyword arguments of a `flax.linen.Conv` that computes so; none for `f32`."""
        return {} if self.operands == "f32" else {"conv_general_dilated": _conv}


F32 = Precision()
PRECISIONS = {"f32": F32, "bf16": Precision("bf16")}


def _narrow(x: Array) -> Array:
    return x.astype(jnp.bfloat16)


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(_narrow(a), _narrow(b), preferred_element_type=jnp.float32)


@jax.custom_vjp
def _narrow_matmul(a: Array, b: Array) -> Array:
    return _product(a, b)


def _matmul_forward(a: Array, b: Array):
    a, b = _narrow(a), _narrow(b)
    return _product(a, b), (a, b)


def _matmul_backward(kept, grad: Array):
    a, b = kept
    rows = _product(a.reshape(-1, a.shape[-1]).T, grad.reshape(-1, grad.shape[-1]))
    return _product(grad, b.T), rows


_narrow_matmul.defvjp(_matmul_forward, _matmul_backward)


def _dense(a: Array, b: Array, dimensions: Any, precision: Any = None, **_: Any) -> Array:
    """`jax.lax.dot_general` as flax's Dense calls it: the last axis of `a`, the first of `b`."""
    if dimensions != (((a.ndim - 1,), (0,)), ((), ())) or b.ndim != 2:
        raise ValueError(f"a dense layer multiplies [..., K] by [K, N], got {dimensions}")
    return _narrow_matmul(a, b)


def _conv(a: Array, b: Array, *args: Any, precision: Any = None, **options: Any) -> Array:
    """`jax.lax.conv_general_dilated` as flax's Conv calls it."""

    def plain(a, b, **more):
        return jax.lax.conv_general_dilated(a, b, *args, **options, **more)

    @jax.custom_vjp
    def product(a, b):
        return plain(_narrow(a), _narrow(b), preferred_element_type=jnp.float32)

    def forward(a, b):
        a, b = _narrow(a), _narrow(b)
        return plain(a, b, preferred_element_type=jnp.float32), (a, b)

    def backward(kept, grad):
        # The gradient of a convolution takes operands of one type alone.
        _, pull = jax.vjp(plain, *kept)
        return tuple(part.astype(jnp.float32) for part in pull(_narrow(grad)))

    product.defvjp(forward, backward)
    return product(a, b)

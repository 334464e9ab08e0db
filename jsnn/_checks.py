"""Checks of numbers from the user: what is no number, or out of range, is refused by name."""

from __future__ import annotations

import math
import numbers
import operator
import reprlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["check_number", "shown", "whole_number"]


def check_number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> None:
    """ValueError unless `value` is a finite real number, or an array of them, in `[low, high]`.

    Of a traced value only the type is looked at.

    >>> check_number("rate", 0.5, 0, 1)
    >>> check_number("rate", "0.5", 0, 1)
    Traceback (most recent call last):
        ...
    ValueError: expected a number for rate, found '0.5'
    """
    if not _is_real(value):
        raise ValueError(f"expected a number for {name}, found {shown(value)}")
    if isinstance(value, jax.core.Tracer):
        return
    try:
        wide = np.asarray(value, np.float64)
    except OverflowError:
        wide = np.float64(math.inf)
    if not np.all(np.isfinite(wide)):
        raise ValueError(f"expected a finite {name}, found {shown(value)}")
    if not np.all((wide >= low) & (wide <= high)):
        limits = f"{low:g} <= {name}" + (f" <= {high:g}" if high < math.inf else "")
        raise ValueError(f"expected {limits}, found {shown(value)}")


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """The value as an int; ValueError unless it is one whole number in `[low, high]`.

    >>> whole_number("steps", 4.0, 1, 1000)
    4
    >>> whole_number("steps", 2.5, 1, 1000)
    Traceback (most recent call last):
        ...
    ValueError: expected steps to be a whole number of 1 to 1000, found 2.5
    """
    refused = ValueError(
        f"expected {name} to be a whole number of {low} to {high}, found {shown(value)}"
    )
    if not _is_real(value) or isinstance(value, jax.core.Tracer) or np.ndim(value):
        raise refused
    if isinstance(value, numbers.Integral):
        whole = operator.index(value)
    elif float(value).is_integer():
        whole = int(value)
    else:
        raise refused
    if not low <= whole <= high:
        raise refused
    return whole


def shown(value: Any) -> str:
    """A value for a message, shortened to one line.

    >>> shown(10**5000), shown("8")
    ('an integer of 16610 bits', "'8'")
    """
    return " ".join(_SHORT.repr(value).split())


class _Short(reprlib.Repr):
    """Text of any value: long ones are shortened, deep ones not followed to their end."""

    def repr_int(self, x: int, level: int) -> str:
        # More digits than Python prints.
        return f"an integer of {x.bit_length()} bits" if x.bit_length() > 256 else repr(x)


_SHORT = _Short()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 80, 80


def _is_real(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        real = jnp.issubdtype(value.dtype, jnp.integer) or jnp.issubdtype(value.dtype, jnp.floating)
        return real and value.size > 0
    return isinstance(value, int | float) and not isinstance(value, bool)

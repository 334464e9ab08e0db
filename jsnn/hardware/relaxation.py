"""Hard choices with a gradient: the value is exact, the derivative that of a softened choice.

Every function takes a temperature. At zero nothing is softened: the value is exact and a choice has
no derivative. Above, the value stays exact and the derivative is that of the `soft_*` form, which
converges to the exact one as the temperature falls. A temperature that is traced, so that it can
fall from step to step of one program, must stay above zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jsnn._pytree import is_concrete
from jsnn._straight_through import straight_through


def softens(temperature: Any) -> bool:
    """Whether a choice has the derivative of its soft form: above zero, or traced.

    >>> softens(0.0), softens(0.5)
    (False, True)
    """
    return not is_concrete(temperature) or bool(temperature > 0)


def soft_ceil(x: Any, temperature: Any) -> Any:
    """`n + 1 - (1 - r)^(1/temperature)` with n + r = x, 0 <= r < 1: x at 1, ceil(x) at 0.

    >>> soft_ceil(2.5, 1.0), soft_ceil(2.5, 0.01)
    (Array(2.5, dtype=float32, weak_type=True), Array(3., dtype=float32, weak_type=True))
    """
    whole = jax.lax.stop_gradient(jnp.floor(x))
    return whole + 1 - (1 - (x - whole)) ** (1 / temperature)


def ceil(x: Any, temperature: float = 0.0) -> Any:
    """`ceil(x)`; with a temperature the derivative is that of `soft_ceil`.

    >>> ceil(2.5)
    Array(3., dtype=float32, weak_type=True)
    """
    exact = jnp.ceil(x)
    return straight_through(exact, soft_ceil(x, temperature)) if softens(temperature) else exact


def soft_fits(need: Any, capacity: Any, temperature: Any) -> Any:
    """`sigmoid(log(capacity / need) / temperature)`: 1 where it fits, 0 where it does not.

    >>> soft_fits(8.0, 8.0, 0.1)
    Array(0.5, dtype=float32, weak_type=True)
    """
    # A tiny need fits anything; its logarithm must stay finite all the same.
    ratio = jnp.maximum(capacity, 1e-9) / jnp.maximum(need, 1e-9)
    return jax.nn.sigmoid(jnp.log(ratio) / temperature)


def place(need: Any, capacities: Sequence[Any], temperature: float = 0.0) -> tuple[Any, ...]:
    """Share of a tensor at each level: whole at the first that holds it, else at the last.

    Args:
        need: size of the tensor.
        capacities: size of each level, nearest first; a tensor is never split.
        temperature: see the module.

    >>> [float(share) for share in place(100, (64, 128, 1024))]
    [0.0, 1.0, 0.0]
    """
    exact = _cascade([(jnp.asarray(need) <= c) * 1.0 for c in capacities[:-1]])
    if not softens(temperature):
        return exact
    soft = _cascade([soft_fits(need, c, temperature) for c in capacities[:-1]])
    return tuple(straight_through(e, s) for e, s in zip(exact, soft, strict=True))


def _cascade(fits: Sequence[Any]) -> tuple[Any, ...]:
    shares, left = [], 1.0
    for share in fits:
        shares.append(left * share)
        left = left * (1 - share)
    return (*shares, left)

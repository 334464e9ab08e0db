"""Checked dataclasses that are also pytrees."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import jax
import numpy as np

Class = TypeVar("Class", bound=type)


def is_concrete(value: object) -> bool:
    """Whether `value` is a number that can be checked now (False for tracers and None).

    >>> is_concrete(8.0), is_concrete(None)
    (True, False)
    """
    if isinstance(value, bool | jax.core.Tracer):
        return False
    return isinstance(value, int | float | np.number | np.ndarray | jax.Array)


def pytree(cls: Class) -> Class:
    """Register a dataclass as a pytree that is checked when made, not when rebuilt.

    A gradient, an update or a tangent has the same tree but obeys no bounds, so rebuilding skips
    `__post_init__`. Fields with `metadata={"static": True}` are static, all others children.

    >>> @pytree
    ... @dataclasses.dataclass(frozen=True)
    ... class DesignParameter:
    ...     bits: float
    ...     def __post_init__(self):
    ...         if self.bits < 1:
    ...             raise ValueError(self.bits)
    >>> jax.tree.map(lambda x: -x, DesignParameter(8.0)).bits
    -8.0
    """
    fields = dataclasses.fields(cls)
    static = tuple(f.name for f in fields if f.metadata.get("static"))
    children = tuple(f.name for f in fields if not f.metadata.get("static"))

    def flatten(node):
        return [getattr(node, n) for n in children], tuple(getattr(node, n) for n in static)

    def flatten_with_keys(node):
        values, facts = flatten(node)
        keys = map(jax.tree_util.GetAttrKey, children)
        return list(zip(keys, values, strict=True)), facts

    def rebuild(facts, values):
        node = object.__new__(cls)
        for name, value in zip((*static, *children), (*facts, *values), strict=True):
            object.__setattr__(node, name, value)
        return node

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, rebuild, flatten)
    return cls

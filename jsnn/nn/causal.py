"""Check of networks that are to be fed their window in pieces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import flax.linen as nn

from jsnn.nn.layers import Dropout, Spiking


@contextlib.contextmanager
def causal(steps: int | None = None, *, streaming: bool = False) -> Iterator[None]:
    """Context in which a module raises if it needs more of the window than the steps so far.

    A `Spiking` layer is causal unless its norm takes statistics over time. Every other module must
    declare it by a class attribute `causal = True`: step t of its output depends on steps up to t
    of its input, and on nothing else that changes between two pieces.

    Args:
        steps: length of the window; None for a stream without end.
        streaming: refuse training mode altogether.

    Raises:
        ValueError: from the module's call: no `causal`; batch statistics; a readout that needs more
            than `steps`; a layer that is used twice, as both uses would share one state; training
            mode.

    >>> import jax.numpy as jnp
    >>> class Mean(nn.Module):
    ...     def __call__(self, frames, train=False):
    ...         return frames.mean(0)
    >>> with causal():
    ...     try:
    ...         Mean().apply({}, jnp.ones((3, 1, 2)))
    ...     except ValueError as error:
    ...         print(str(error).partition(",")[0])
    Mean does not say that it is causal
    """
    used, inside = set(), []

    def check(call, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__" or inside:
            return call(*args, **kwargs)
        train = kwargs.get("train", args[1] if len(args) > 1 else False)
        if streaming and train and isinstance(module, Spiking | Dropout):
            raise ValueError(
                f"{_name(module)} is in training mode, which needs the whole window; stream in "
                "evaluation mode (train=False)"
            )
        if isinstance(module, Spiking):
            _check(module, steps, train)
            if module.path in used:
                raise ValueError(
                    f"{_name(module)} is used twice in a pass and would mix up the states of its "
                    "uses; make two layers, or use the plan whole"
                )
            used.add(module.path)
        elif not getattr(module, "causal", False):
            raise ValueError(
                f"{_name(module)} does not say that it is causal, so it cannot be fed a window in "
                "pieces. If step t of its result depends on steps up to t alone, set "
                "`causal: ClassVar[bool] = True` on its class; if not, use the plan whole"
            )
        if not isinstance(module, Spiking | Dropout):
            return call(*args, **kwargs)
        # Modules inside of these need no declaration of their own.
        inside.append(module)
        try:
            return call(*args, **kwargs)
        finally:
            inside.pop()

    with nn.intercept_methods(check):
        yield


def _check(layer: Spiking, steps: int | None, train: bool) -> None:
    if train and layer.norm is not None:
        raise ValueError(
            f"{_name(layer)} normalises by statistics of the whole window in training, which a "
            "piece of it does not have; use the plan whole, or a layer without norm"
        )
    if steps is not None and layer.readout is not None and steps < layer.readout.min_steps:
        raise ValueError(
            f"{layer.readout} needs at least {layer.readout.min_steps} steps, got {steps}; "
            "lengthen the window"
        )


def _name(module: nn.Module) -> str:
    path = "/".join(module.path)
    return f"{type(module).__name__} {path!r}" if path else type(module).__name__

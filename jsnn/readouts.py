"""Readouts: from the membranes and spikes of an output layer to one result.

Each is a fold over time (init, update, finish), so that a window can come in pieces and need not
be kept. `C` output neurons, features last. What is summed over time is summed, and returned, in
float32 or wider, whatever the type of membranes and spikes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.unroll import Readout


@dataclasses.dataclass(frozen=True)
class LastMembrane:
    """Membrane after the last step, `[B, C]`."""

    per_step: ClassVar[bool] = False
    needs_spikes: ClassVar[bool] = False
    min_steps: ClassVar[int] = 1

    def init(self, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """Zeros, replaced by the first step."""
        return jnp.zeros(shape, dtype)

    def update(self, carry: Array, potential: Array, spikes: Array, t: Array):
        """Keep the newest."""
        return potential, None

    def finish(self, carry: Array, emissions: None, steps: Array | int) -> Array:
        """The newest."""
        return carry


@dataclasses.dataclass(frozen=True)
class MeanMembrane:
    """Mean membrane over time, `[B, C]`."""

    per_step: ClassVar[bool] = False
    needs_spikes: ClassVar[bool] = False
    min_steps: ClassVar[int] = 1

    def init(self, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """An empty sum."""
        return jnp.zeros(shape, _wide(dtype))

    def update(self, carry: Array, potential: Array, spikes: Array, t: Array):
        """Add the membrane."""
        return carry + potential, None

    def finish(self, carry: Array, emissions: None, steps: Array | int) -> Array:
        """The sum over the number of steps."""
        return carry / jnp.asarray(steps, carry.dtype)


@dataclasses.dataclass(frozen=True)
class MaxMembrane:
    """Largest membrane over time, `[B, C]`; steps that tie share the gradient."""

    per_step: ClassVar[bool] = False
    needs_spikes: ClassVar[bool] = False
    min_steps: ClassVar[int] = 1

    def init(self, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """Below every membrane."""
        return jnp.full(shape, -jnp.inf, dtype)

    def update(self, carry: Array, potential: Array, spikes: Array, t: Array):
        """Keep the larger."""
        return jnp.maximum(carry, potential), None

    def finish(self, carry: Array, emissions: None, steps: Array | int) -> Array:
        """The largest."""
        return carry


@dataclasses.dataclass(frozen=True)
class SpikeCount:
    """Number of spikes, `[B, C]`."""

    per_step: ClassVar[bool] = False
    needs_spikes: ClassVar[bool] = True
    min_steps: ClassVar[int] = 1

    def init(self, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """No spikes."""
        return jnp.zeros(shape, _wide(dtype))

    def update(self, carry: Array, potential: Array, spikes: Array, t: Array):
        """Add the spikes."""
        return carry + spikes, None

    def finish(self, carry: Array, emissions: None, steps: Array | int) -> Array:
        """The count."""
        return carry


@dataclasses.dataclass(frozen=True)
class PerStep:
    """The membrane of every step, `[T, B, C]`: a decision each step.

    A window in pieces gives the steps of each piece.

    Attributes:
        decides: False where the steps together make one decision (as when TET's losses of all
            steps train a network that is read by their mean): its QNN then runs once.
    """

    decides: bool = True
    per_step: ClassVar[bool] = True
    needs_spikes: ClassVar[bool] = False
    min_steps: ClassVar[int] = 1

    def init(self, shape: tuple[int, ...], dtype: Any = jnp.float32) -> tuple[()]:
        """Nothing to carry."""
        return ()

    def update(self, carry: tuple[()], potential: Array, spikes: Array, t: Array):
        """Emit the membrane."""
        return carry, potential

    def finish(self, carry: tuple[()], emissions: Array, steps: Array | int) -> Array:
        """All that was emitted."""
        return emissions


@dataclasses.dataclass(frozen=True)
class SumSoftmax:
    """`Σ_{t > skip} softmax(v_t)`, `[B, C]`, with t from 0 (Yin, Corradi & Bohté 2021, SHD).

    The sum serves as logits: the paper's cross-entropy takes a softmax of it once more.

    Raises:
        ValueError: a negative skip.

    Example:
        >>> readout = SumSoftmax(skip=0)
        >>> carry = readout.init((1, 2))
        >>> for t in range(3):
        ...     carry, _ = readout.update(carry, jnp.zeros((1, 2)), jnp.zeros((1, 2)), t)
        >>> readout.finish(carry, None, 3)
        Array([[1., 1.]], dtype=float32)
    """

    skip: int = 10

    per_step: ClassVar[bool] = False
    needs_spikes: ClassVar[bool] = False

    def __post_init__(self):
        if self.skip < 0:
            raise ValueError(f"SumSoftmax: skip must be 0 or more steps, got {self.skip!r}")

    @property
    def min_steps(self) -> int:
        """One more than the steps 0..skip that are left out."""
        return self.skip + 2

    def init(self, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """An empty sum."""
        return jnp.zeros(shape, _wide(dtype))

    def update(self, carry: Array, potential: Array, spikes: Array, t: Array):
        """Add the softmax over the features, from step `skip + 1` on."""
        share = jax.nn.softmax(potential.astype(carry.dtype), axis=-1)
        return jnp.where(t > self.skip, carry + share, carry), None

    def finish(self, carry: Array, emissions: None, steps: Array | int) -> Array:
        """The sum."""
        return carry


@dataclasses.dataclass(frozen=True)
class Several:
    """Several readouts in one pass; every result is a tuple in their order.

    Example:
        >>> both = Several((LastMembrane(), SpikeCount()))
        >>> carry = both.init((1, 2))
        >>> carry, _ = both.update(carry, jnp.zeros((1, 2)), jnp.ones((1, 2)), 0)
        >>> both.finish(carry, (None, None), 1)
        (Array([[0., 0.]], dtype=float32), Array([[1., 1.]], dtype=float32))
    """

    readouts: tuple[Readout, ...]

    def __post_init__(self):
        if not isinstance(self.readouts, tuple) or not self.readouts:
            raise ValueError(f"Several takes a tuple of readouts, got {self.readouts!r}")

    @property
    def per_step(self) -> bool:
        """True if any of them is."""
        return any(r.per_step for r in self.readouts)

    @property
    def decides(self) -> bool:
        """True if any of them makes a decision in each step."""
        return any(decides_per_step(r) for r in self.readouts)

    @property
    def needs_spikes(self) -> bool:
        """True if any of them does."""
        return any(r.needs_spikes for r in self.readouts)

    @property
    def min_steps(self) -> int:
        """The largest that any of them needs."""
        return max(r.min_steps for r in self.readouts)

    def init(self, shape: tuple[int, ...], dtype: Any = jnp.float32) -> tuple:
        """The carry of each."""
        return tuple(r.init(shape, dtype) for r in self.readouts)

    def update(self, carry: tuple, potential: Array, spikes: Array, t: Array):
        """Update each."""
        pairs = [
            r.update(c, potential, spikes, t) for r, c in zip(self.readouts, carry, strict=True)
        ]
        return tuple(c for c, _ in pairs), tuple(e for _, e in pairs)

    def finish(self, carry: tuple, emissions: tuple, steps: Array | int) -> tuple:
        """The result of each."""
        return tuple(
            r.finish(c, e, steps) for r, c, e in zip(self.readouts, carry, emissions, strict=True)
        )


def decides_per_step(readout: Readout | None) -> bool:
    """Whether a layer with this readout makes a decision in each step (`Workload.per_step`).

    A readout of every step does, unless its attribute `decides` is False.

    >>> decides_per_step(PerStep()), decides_per_step(Several((PerStep(decides=False),)))
    (True, False)
    """
    return readout is not None and readout.per_step and getattr(readout, "decides", True)


def _wide(dtype: Any) -> Any:
    return jnp.promote_types(dtype, jnp.float32)


READOUTS: dict[str, type] = {
    "last_membrane": LastMembrane,
    "mean_membrane": MeanMembrane,
    "max_membrane": MaxMembrane,
    "spike_count": SpikeCount,
    "per_step": PerStep,
    "sum_softmax": SumSoftmax,
}

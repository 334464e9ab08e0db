"""Contract of the plans: readouts, recurrence, the carry, and the plan itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.neurons.protocol import Neuron, Params

Recurrent = Callable[[Array], Array]


@runtime_checkable
class Readout(Protocol):
    """What every readout offers: frozen, hashable, without arrays.

    Attributes:
        per_step: the result has a time axis `[T, B, C]`; else it is `[B, C]`. Each step is then a
            decision of its own, unless an attribute `decides` is False.
        needs_spikes: reads spikes, so that a non-spiking neuron cannot feed it.
        min_steps: fewest steps of a window that give a result.
    """

    @property
    def per_step(self) -> bool: ...  # noqa: D102

    @property
    def needs_spikes(self) -> bool: ...  # noqa: D102

    @property
    def min_steps(self) -> int: ...  # noqa: D102

    def init(self, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        """The carry before the first step; `shape` is `[B, C]`."""
        ...

    def update(self, carry: Any, potential: Array, spikes: Array, t: Array) -> tuple[Any, Any]:
        """Take in step t (from 0); also gives what this step emits, None for most."""
        ...

    def finish(self, carry: Any, emissions: Any, steps: Array | int) -> Any:
        """The result after `steps` steps, of which `emissions` holds those of the last call."""
        ...


class FoldState(NamedTuple):
    """Everything `fold` needs to go on where it stopped.

    Attributes:
        neuron: state of the population.
        spikes: spikes of the last step, `[B, ...]`.
        carry: what the readout has gathered.
        steps: steps taken, int32 scalar.
    """

    neuron: Any
    spikes: Array
    carry: Any
    steps: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DenseRecurrence:
    """All-to-all recurrence as a matrix that plans can see: `current = spikes @ weights`.

    A plan that sees the matrix computes the weights' gradient in one product over all steps; with a
    function, which hides it, the gradient is summed step by step.

    Attributes:
        weights: `[N, N]`, from the sending neuron to the receiving one.

    Example:
        >>> DenseRecurrence(2 * jnp.eye(2))(jnp.ones((1, 2)))
        Array([[2., 2.]], dtype=float32)
    """

    weights: Array

    def __call__(self, spikes: Array) -> Array:
        """Current `[B, N]` that the spikes `[B, N]` cause one step later."""
        return jnp.matmul(spikes, self.weights)


class Carry(NamedTuple):
    """Values carried from step to step.

    Attributes:
        neuron: state of the population.
        spikes: of the step before, `[B, ...]`; None where neither recurrence nor the caller asks.
        gathered: what the readout has gathered.
    """

    neuron: Any
    spikes: Array | None
    gathered: Any


@runtime_checkable
class Plan(Protocol):
    """A way to compute the same scan: frozen, hashable, without arrays."""

    def refuses(self, neuron: Neuron, recurrent: Recurrent | None) -> str | None:
        """The reason why this plan cannot run this population, and what can; None if it can."""
        ...

    def run(
        self,
        neuron: Neuron,
        readout: Readout,
        params: Params,
        recurrent: Recurrent | None,
        currents: Array,
        times: Array,
        start: Carry,
    ) -> tuple[Carry, Any]:
        """Step through `currents` `[T, B, ...]` at `times` `[T]`; the last carry and emissions."""
        ...

"""The time window as a lever: its length T, trained on task and energy between bounds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from jsnn.train.levers import Lever, Pairs
from jsnn.workload import Workload, within
from jsnn.workload.truncation import truncate_layer


@dataclasses.dataclass(frozen=True)
class Window(Lever):
    """A window of T steps, T = low + (high - low) sigmoid(leaf), whole or not.

    Step t, from 0, has the weight w_t = min(max(T - t, 0), 1). From the outputs o_t of every step
    the answer is `Σ w_t o_t / T` (`mean`) or `Σ (w_t - w_(t+1)) o_t` (`last`), and each layer is
    priced for events that count w_t times (`jsnn.workload.truncation.truncate`). At a whole T both
    are those of a run over T steps; between two whole T, the last answer and the energy are linear
    in T. So the gradient of T comes from what the next step adds to the task and to the energy.

    The network runs all steps of its frames and ends in `PerStep(decides=False)`. This lever must
    come before levers that change a layer's workload, as it does not know their changes by step.
    Events without counts by step (`jsnn.workload.truncation.taken_at_rates`: attention, readouts of
    spikes; with `WeightPruning` the inputs they came from) are priced at constant rates; a run over
    truncated frames (of `whole` steps) gives the exact energy.

    Attributes:
        low, high: bounds of T, in steps.
        start: initial T; None: three quarters of the way up.
        reads: how steps are combined into an answer, `mean` or `last`.

    Raises:
        ValueError: bounds that cross or lie below one step, a start not between them; more steps
            than the frames have; outputs that are not `[T, B, C]`.

    >>> lever = Window(1, 5, start=2.5)
    >>> leaves = lever.init(jax.random.key(0), None, None)
    >>> outputs = jnp.array([1.0, 2.0, 6.0, 9.0, 9.0]).reshape(5, 1, 1)
    >>> float(lever.steps(leaves)), lever.outputs(leaves, outputs).tolist()
    (2.5, [[2.4000000953674316]])
    """

    low: float
    high: float
    start: float | None = None
    reads: Literal["mean", "last"] = "mean"

    name: ClassVar[str] = "window"

    def __post_init__(self):
        if not 1 <= self.low < self.high:
            raise ValueError(
                f"expected bounds 1 <= low < high of the window, found {self.low} and {self.high}"
            )
        if math.ceil(self.low) > math.floor(self.high):
            raise ValueError(
                f"expected a whole number of steps between {self.low} and {self.high}, found none"
            )
        if self.start is not None and not self.low < self.start < self.high:
            raise ValueError(
                f"expected a first window between {self.low} and {self.high} steps, found "
                f"{self.start}"
            )
        if self.reads not in ("mean", "last"):
            raise ValueError(f"reads must be mean or last, got {self.reads!r}")

    def init(self, key: jax.Array, variables: Any, workload: Workload | None) -> jax.Array:
        """The leaf of the initial window."""
        if workload is not None:
            self._fits(min(layer.steps for layer in workload))
        start = self.low + 0.75 * (self.high - self.low) if self.start is None else self.start
        share = (start - self.low) / (self.high - self.low)
        return jnp.float32(math.log(share / (1 - share)))

    def steps(self, leaves: jax.Array) -> jax.Array:
        """T, whole or not."""
        return self.low + (self.high - self.low) * jax.nn.sigmoid(leaves)

    def whole(self, leaves: jax.Array) -> tuple[int, ...]:
        """The whole T below and above, within the bounds, to be compared; one if T is whole.

        >>> Window(1.5, 6).whole(jnp.float32(-9.0)), Window(1, 5).whole(jnp.float32(0.1))
        ((2,), (3, 4))
        """
        steps = float(self.steps(leaves))
        low, high = math.ceil(self.low), math.floor(self.high)
        return tuple(
            sorted({min(max(near, low), high) for near in (math.floor(steps), math.ceil(steps))})
        )

    def outputs(self, leaves: jax.Array, outputs: jax.Array) -> jax.Array:
        """Outputs `[T, B, C]` of every step to answers `[B, C]` of the window."""
        if outputs.ndim != 3:
            raise ValueError(
                f"expected outputs of every step [T, B, C], found {list(outputs.shape)}: let the "
                "network end in jsnn.readouts.PerStep(decides=False)"
            )
        self._fits(len(outputs))
        steps = self.steps(leaves)
        inside = within(len(outputs), steps)
        if self.reads == "mean":
            shares = inside / steps
        else:
            shares = inside - jnp.append(inside[1:], 0)
        return (shares[:, None, None] * outputs).sum(0)

    def price(self, leaves: jax.Array, params: Any, pairs: Pairs) -> Pairs:
        """The workload of each layer in the window, on unchanged hardware."""
        steps = self.steps(leaves)
        return [(truncate_layer(layer, steps), hardware) for layer, hardware in pairs]

    def _fits(self, length: int) -> None:
        if self.high > length:
            raise ValueError(
                f"a window of up to {self.high} steps does not fit frames of {length}: lower its "
                "upper bound, or give it more steps"
            )

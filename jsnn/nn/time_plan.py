"""Time plans of a forward pass: the whole window at once, or chunk by chunk.

A plan changes time and memory, never results.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from jsnn._checks import whole_number
from jsnn.workload import Workload

# Steps of a chunk: of 10, 16, 20 and 25 the fastest, with least memory (700-128-128-20, T = 1000).
CHUNK = 10
# float32 words that the backward pass keeps per neuron and step: its current, membrane and spike,
# and the frame of the next layer.
WORDS = 4
# Most bytes that a pass may keep. Far below the memory of a machine, as caches are smaller still.
BUDGET_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class Whole:
    """Layer after layer, each over all T steps; memory grows with T."""

    def __str__(self) -> str:
        return "whole"


@dataclasses.dataclass(frozen=True)
class Chunked:
    """All layers over `steps` steps, then over the next; chunks are recomputed for gradients.

    Memory does not grow with T, except for inputs, outputs of every step and, for gradients, the
    neurons' state at the start of each chunk. Gradients cost one more forward pass.

    Attributes:
        steps: length of a chunk; the last one is shorter where T is not a multiple.

    Raises:
        ValueError: `steps` is not a whole number of at least one.
    """

    steps: int = CHUNK

    def __post_init__(self):
        steps = whole_number("steps of a chunk", self.steps, 1, 10**9)
        object.__setattr__(self, "steps", steps)

    def __str__(self) -> str:
        return f"chunked:{self.steps}"


TimePlan = Whole | Chunked
WHOLE = Whole()


class Choice(NamedTuple):
    """A plan and why it was chosen."""

    plan: TimePlan
    reason: str


def kept_bytes(workload: Workload, batch: int) -> int:
    """Bytes that a training step keeps of a whole window: `Σ_layers 4 words · T · B · neurons`.

    An estimate: XLA removes some of it by fusion. Only the shapes of `workload` are read.
    """
    return sum(4 * WORDS * l.steps * batch * l.geometry.neurons for l in workload)


def choose(steps: int, kept: int, *, chunkable: bool = True, budget: int = BUDGET_BYTES) -> Choice:
    """The plan for a window: whole if it fits the budget, else in chunks of 10 steps.

    Args:
        steps: T.
        kept: bytes that a pass keeps of the window (`kept_bytes`).
        chunkable: False if the network cannot run in chunks (train-mode batch norm).
        budget: bytes that may be kept.

    >>> choose(1000, 565 * 2**20)
    Choice(plan=Chunked(steps=10), reason='a pass keeps 565 MiB of 1000 steps, more than 256 MiB')
    """
    size = f"a pass keeps {kept / 2**20:.3g} MiB of {steps} steps"
    if kept <= budget:
        return Choice(WHOLE, f"{size}, within {budget / 2**20:.3g} MiB")
    if not chunkable:
        return Choice(WHOLE, f"{size}, but batch norm takes statistics of all of them")
    if steps <= 2 * CHUNK:
        return Choice(WHOLE, f"{size}, too few to cut")
    return Choice(Chunked(CHUNK), f"{size}, more than {budget / 2**20:.3g} MiB")


def read(word: str) -> TimePlan | None:
    """The plan named `whole`, `chunked` or `chunked:N`; None for `auto`.

    Raises:
        ValueError: anything else.

    >>> read("chunked:10")
    Chunked(steps=10)
    """
    name, colon, steps = word.partition(":")
    if word == "auto":
        return None
    if word == "whole":
        return WHOLE
    if name == "chunked" and (not colon or (steps.isdecimal() and int(steps) > 0)):
        return Chunked(int(steps)) if colon else Chunked()
    raise ValueError(f"a plan is auto, whole, chunked or chunked:STEPS, got {word!r}")

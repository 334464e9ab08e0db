"""A run while and after it trains, and what looks on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jsnn.train.program import Program, Start
from jsnn.train.state import TrainState

__all__ = ["Best", "Callback", "Diverged", "Fitted"]


class Diverged(FloatingPointError):
    """A loss, a gradient or an evaluated figure that is not finite."""


class Best(NamedTuple):
    """The epoch that is taken so far.

    Attributes:
        state: at its end.
        score: of `score_of`.
        task: task loss on validation, which decides between equal scores.
        epoch: its number; 0: none yet.
    """

    state: TrainState
    score: float = -np.inf
    task: float = np.inf
    epoch: int = 0


class Fitted(NamedTuple):
    """A run at the end of an epoch: what a callback sees, and what `fit` returns.

    Attributes:
        program, start: of the run.
        state: at the end of the last epoch.
        best: the epoch that is taken.
        rows: figures of every epoch so far, numbers and lists as of JSON.
    """

    program: Program
    start: Start
    state: TrainState
    best: Best
    rows: Sequence[Mapping[str, Any]]

    @property
    def variables(self) -> dict[str, Any]:
        """Variables of the network of the epoch that is taken."""
        return self.best.state.variables


class Callback:
    """Looks on while a run trains; what it raises ends the run."""

    def begin(self, run: Fitted, epochs: int) -> None:
        """Training begins or goes on: the run as it is, and the epochs it shall have."""

    def steps(self, count: int) -> None:
        """So many more optimiser steps were done."""

    def epoch(self, run: Fitted) -> None:
        """An epoch has ended; its figures are `run.rows[-1]`. The state is donated to the next."""

"""A progress bar with the newest figures; without a terminal, a line now and then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from jsnn.train.fitted import Callback, Fitted

__all__ = ["Progress"]

LINES = 10


class Progress(Callback):
    """Steps done, and the newest row of figures, while the `with` block is open.

    Args:
        console: to print on; None: one of its own, on the first of several processes.

    >>> progress = Progress(Console(quiet=True))
    >>> with progress:
    ...     progress.steps(1)
    """

    def __init__(self, console: Console | None = None):
        quiet = jax.process_index() > 0
        self._console = console or Console(highlight=False, soft_wrap=True, quiet=quiet)
        self._total, self._done, self._lines = 1, 0, 0
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("compiling", total=None)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def begin(self, run: Fitted, epochs: int) -> None:
        """Set out all steps of the run, some of them done before; say that it compiles."""
        each = run.program.epoch_steps
        self._total, self._done = epochs * each, len(run.rows) * each
        self._bar.update(self._task, total=self._total, completed=self._done)
        if not self._console.is_terminal and self._done < self._total:
            self._console.print("compiling the training step ...")

    def steps(self, count: int) -> None:
        """Count optimiser steps as done."""
        self._done += count
        self._bar.advance(self._task, count)

    def epoch(self, run: Fitted) -> None:
        """Show the figures of an epoch."""
        line = _line(run.rows[-1])
        self._bar.update(self._task, description=line)
        # About LINES lines stay, however long the run.
        if self._done * LINES >= self._lines * self._total or self._done == self._total:
            self._lines = self._done * LINES // self._total + 1
            self._console.print(line)


def _line(row: Mapping[str, Any]) -> str:
    parts = [f"epoch {row['epoch']:3d}", f"loss {row['train_loss']:.3f}"]
    if "validation_accuracy" in row:
        parts.append(f"validation {row['validation_accuracy']:6.1%}")
    elif "validation_task" in row:
        parts.append(f"validation {row['validation_task']:.3g}")
    pj = row.get("validation_pj", row["train_pj"])
    parts.append(f"{pj / 1e3:8.1f} nJ")
    if "spikes" in row:
        parts.append(f"{sum(row['spikes']):7.0f} spikes")
    return "  ".join(parts)

"""A progress bar with loss, accuracy, pJ and spikes; without a terminal, a line now and then."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINES = 10


class Progress:
    """Steps done, and the newest row of metrics.

    Args:
        console: console to print on.
        total: steps of the run.
        done: steps done before.
    """

    def __init__(self, console: Console, total: int, done: int):
        self._console, self._total, self._done = console, total, done
        self._lines = 0
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Progress:
        self._bar.start()
        self._task = self._bar.add_task("compiling", total=self._total, completed=self._done)
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def step(self, steps: int = 1) -> None:
        """Count optimiser steps as done."""
        self._done += steps
        self._bar.advance(self._task, steps)

    def show(self, row: dict[str, Any]) -> None:
        """Show a row of metrics (see `experiments.train`)."""
        text = (
            f"epoch {row['epoch']:3d}  loss {row['train_loss']:.3f}  "
            f"validation {row['validation_accuracy']:6.1%}  {row['validation_pj'] / 1e3:8.1f} nJ  "
            f"{sum(row['spikes']):7.0f} spikes"
        )
        self._bar.update(self._task, description=text)
        # About LINES lines stay, however long the run.
        if self._done * LINES >= self._lines * self._total or self._done == self._total:
            self._lines = self._done * LINES // self._total + 1
            self._console.print(text)

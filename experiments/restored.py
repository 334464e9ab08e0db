"""Restored contents of a run folder: the state, and the network as tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.build import BUDGETS
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.run_folder import RunFolder
from jsnn.train.state import TrainState
from jsnn.train.threshold import turned


def record(
    folder: RunFolder, epoch: int, best: dict[str, Any], rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Record that a checkpoint holds beside its arrays.

    Args:
        folder: of the run, whose config made the checkpoint.
        epoch: the last one done.
        best: score, task and epoch of the chosen network.
        rows: metrics of all epochs done.
    """
    return {"epoch": epoch, "best": best, "config": folder.content(), "rows": list(rows)}


def check(folder: RunFolder, checkpoints: Checkpoints, epochs: int | None = None) -> None:
    """Compare the config of a run with that of its newest checkpoint.

    Args:
        folder: of the run.
        checkpoints: of the run.
        epochs: number of epochs the run shall have; None: that of its config.

    Raises:
        ValueError: the config was changed, or more epochs are done already.
    """
    if checkpoints.latest() is None:
        folder.refuse_edited()
        return
    known = checkpoints.record()
    folder.refuse_unlike(known.get("config"))
    if epochs is not None and epochs < known["epoch"]:
        raise ValueError(
            f"--epochs must be at least {known['epoch']}, the epochs that {folder.path} has done, "
            f"got {epochs}"
        )


def network(folder: RunFolder, like: TrainState) -> tuple[TrainState, int]:
    """State and epoch of the chosen network.

    With a budget, the thresholds include the factor that the run applied to them.

    Args:
        folder: of the run.
        like: a state of the same network and optimiser.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: the network is another one, or a file is damaged.
    """
    checkpoints = Checkpoints(folder.checkpoints)
    if checkpoints.latest() is None:
        raise FileNotFoundError(
            f"{folder.path} has no checkpoint: continue the run with --resume {folder.path}"
        )
    check(folder, checkpoints)
    tree, kept = checkpoints.restore({"state": like, "best": like})
    folder.refuse_unlike(kept.get("config"))
    return _turned(folder, tree["best"]), kept["best"]["epoch"]


def _turned(folder: RunFolder, best: TrainState) -> TrainState:
    if not folder.result.exists():
        if any(folder.content()[name] is not None for name in BUDGETS):
            raise FileNotFoundError(
                f"{folder.result} is not there, which says how high the thresholds are under the "
                f"budget: continue the run with --resume {folder.path}"
            )
        return best
    held = folder.read(folder.result).get("budget")
    if held is None or held["threshold_factor"] == 1:
        return best
    return turned(best, held["threshold_factor"], held["spiking_layers"])

"""The trained network of a run folder, as it was tested."""

from __future__ import annotations

import json
from typing import Any

from experiments.runfolder import RunFolder
from jsnn.checkpoint import Checkpoints
from jsnn.codesign.threshold import with_factor
from jsnn.training import TrainState


def network(folder: RunFolder, like: TrainState) -> tuple[Any, Any, int]:
    """Parameters, other collections and epoch of the chosen network.

    With a budget the factor that the run put on its thresholds is on them.

    Args:
        folder: of the run.
        like: a state of the same network and optimiser.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: the network is another one.
    """
    if not folder.checkpoints.is_dir():
        raise FileNotFoundError(
            f"{folder.path} has no checkpoint: go on with the run by --resume {folder.path}"
        )
    with Checkpoints(folder.checkpoints) as checkpoints:
        tree, record = checkpoints.restore({"state": like, "best": like})
    best: TrainState = tree["best"]
    return _turned(folder, best.params), best.collections, record["best"]["epoch"]


def _turned(folder: RunFolder, params: Any) -> Any:
    held = json.loads(folder.result.read_text()).get("budget") if folder.result.exists() else None
    if held is None or held["threshold_factor"] == 1:
        return params
    return with_factor(params, held["threshold_factor"], held["spiking_layers"])

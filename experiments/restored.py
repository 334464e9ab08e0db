"""The network of a run folder as it was tested."""

from __future__ import annotations

from experiments.build import BUDGETS
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.run_folder import RunFolder
from jsnn.train.saving import check_config
from jsnn.train.state import TrainState
from jsnn.train.threshold import turned


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
    check_config(folder, checkpoints)
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

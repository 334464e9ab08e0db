"""Runs saved in a folder: when a checkpoint is due, stopped, continued, refused."""

import io
import json
import signal

import jax
import numpy as np
import pytest
from rich.console import Console

from jsnn.data import Direct
from jsnn.hardware import get
from jsnn.models import MLP
from jsnn.train import (
    Callback,
    Objective,
    Progress,
    RunFolder,
    Saving,
    compile_program,
    energy_terms,
    fit,
    fit_program,
    make_optimiser,
    saving,
)
from jsnn.train.losses import CrossEntropy, MeanSquaredError

pytestmark = pytest.mark.usefixtures("ctrl_c_is_heard")
ENCODER, OPTIMISER = Direct(3), make_optimiser(2e-2, 40, schedule="constant")
DRAW = np.random.default_rng(0)
TRAIN = DRAW.random((14, 6)).astype(np.float32), (np.arange(14) % 3).astype(np.int32)
VALIDATION = DRAW.random((7, 6)).astype(np.float32), (np.arange(7) % 3).astype(np.int32)


def objective(weight=0.5):
    return Objective(CrossEntropy(), get("neuromorphic-22nm"), energy_terms(weight))


def train(epochs, folder=None, weight=0.5, width=8, samples=TRAIN, checked=VALIDATION, **options):
    options = {"batch": 4, "seed": 3, **options}
    return fit(
        MLP((width,), 3),
        objective(weight),
        OPTIMISER,
        ENCODER,
        samples,
        checked,
        epochs=epochs,
        folder=folder,
        **options,
    )


def figures(run):
    rows = [{name: row[name] for name in row if name != "seconds"} for row in run.rows]
    return rows, run.best[1:], jax.device_get(run.best.state.params)


def same(run, other):
    for one, another in zip(figures(run)[:2], figures(other)[:2], strict=True):
        assert one == another
    jax.tree.map(np.testing.assert_array_equal, figures(run)[2], figures(other)[2])


@pytest.fixture(scope="module")
def whole():
    return train(4)


class Interrupted(Callback):
    """Ctrl-C at the end of an epoch, before it is saved."""

    def __init__(self, epoch, times=1):
        self.at, self.times = epoch, times

    def epoch(self, run):
        if len(run.rows) == self.at:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def test_a_run_stopped_by_ctrl_c_goes_on_bit_for_bit(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt, match=r"Stopped by Ctrl-C\. The checkpoint of epoch 2 "):
        train(4, tmp_path / "run", callbacks=[Interrupted(2)])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["1", "2"]
    same(train(4, tmp_path / "run"), whole)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(4, tmp_path / "run", callbacks=[Interrupted(2, times=2)])
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["1"]


def test_a_finished_run_gets_more_epochs(whole, tmp_path):
    train(2, tmp_path / "run")
    same(train(4, tmp_path / "run"), whole)
    content = json.loads((tmp_path / "run" / "config.json").read_text())
    assert content["epochs_changed"] == [{"after": 2, "from": 2, "to": 4}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 4}, "seed: 3 in the run, 4 now"),
        ({"weight": 0.25}, "objective: "),
        ({"width": 9}, "model: "),
        ({"epochs": 1}, "epochs must be at least 2"),
        ({"samples": (TRAIN[0] + 1e-6, TRAIN[1])}, "data: "),
        ({"samples": (TRAIN[0], TRAIN[1][::-1])}, "data: "),
        ({"checked": (VALIDATION[0][::-1], VALIDATION[1])}, "data: "),
        ({"augmented": Direct(3)}, "encoder: "),
    ],
)
def test_another_run_in_the_folder_is_refused(options, message, tmp_path):
    train(2, tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(ValueError, match=message):
        train(**{"epochs": 2, "folder": tmp_path / "run", **options})
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    # It is not locked any more.
    RunFolder.existing(tmp_path / "run").lock()


def test_a_folder_in_use_is_refused(tmp_path):
    with RunFolder.create(tmp_path / "run"), pytest.raises(BlockingIOError, match="is in use by"):
        train(1, tmp_path / "run")


def test_when_a_checkpoint_is_due(monkeypatch):
    clock = iter(())
    monkeypatch.setattr(saving, "_seconds_since", lambda moment: next(clock))
    saver = Saving(None, 20.0, checkpoints="those of a test")
    # After the first epoch, whenever that is.
    assert saver.due()
    saver._at, saver._cost = 0.0, 0.5
    clock = iter([1.0, 9.9, 10.0, 15.0])
    assert [saver.due() for _ in range(4)] == [False, False, True, True]
    # Saving is dear: the interval counts.
    saver._cost = 60.0
    clock = iter([19.0, 20.0, 20.1])
    assert [saver.due() for _ in range(3)] == [False, False, True]
    # Saving is cheap beside an epoch: every epoch.
    saver._cost = 0.05
    clock = iter([1.0])
    assert saver.due()


def test_progress_without_a_terminal_says_that_it_compiles_and_shows_ten_epochs():
    text = io.StringIO()
    with Progress(Console(file=text, width=100)) as progress:
        train(40, callbacks=[progress])
    first, *lines = text.getvalue().splitlines()
    assert first.startswith("compiling")
    assert len(lines) == 11 and lines[0].startswith("epoch   1  loss ")
    assert all(word in lines[-1] for word in ("epoch  40", "validation", "%", "nJ", "spikes"))


def test_progress_of_a_regression():
    text = io.StringIO()
    targets = TRAIN[0][:, :3]
    regression = Objective(MeanSquaredError(), get("neuromorphic-22nm"), energy_terms(0.1))
    program = compile_program(
        MLP((4,), 3), regression, OPTIMISER, ENCODER, (TRAIN[0], targets), batch=7
    )
    with Progress(Console(file=text, width=100)) as progress:
        fit_program(program, program.start(0), 1, callbacks=[progress])
    assert "%" not in text.getvalue() and "nJ" in text.getvalue()

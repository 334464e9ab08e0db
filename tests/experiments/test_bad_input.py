"""Every bad input of a training run ends in a clear error and leaves what was there as it was."""

import dataclasses
import errno
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.datasets

import jsnn.train.checkpoint
from experiments import train
from jsnn.data.sets.yinyang import FILES
from jsnn.train import program
from jsnn.train.checkpoint import Checkpoints


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def checkpoint(folder: Path, epoch: int) -> dict[str, str]:
    """Digests of one checkpoint."""
    return contents(folder / "checkpoints" / str(epoch))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--dataset digit", r"unknown data set 'digit'; did you mean 'digits'\? Known: digits, "),
        ("--model mpl", r"unknown model 'mpl'; valid: \['conv', 'mlp', 'spikformer', 'srnn'\]"),
        ("--hardware abacus", "'abacus'.*compute-only-45nm.*hierarchy-45nm.*neuromorphic-22nm"),
        ("--neuron lfi", "unknown neuron 'lfi'; valid: .*'adlif'.*'lif'"),
        ("--surrogate atna", "unknown surrogate 'atna'; valid: .*'atan'"),
        ("--surrogate custom", "unknown surrogate 'custom'"),
        ("--task tte", r"unknown task 'tte'; valid: \['cross-entropy', 'every-step', 'tet'\]"),
        ("--encoder direkt", "unknown encoder 'direkt'; valid: .*'direct'.*'latency'.*'rate'"),
        ("--readout mean", "unknown readout 'mean'; valid: .*'mean-membrane'"),
        ("--reset hard", "unknown reset 'hard'; valid: subtract, zero, none"),
        ("--schedule step", r"schedule must be one of \['constant', 'cosine', 'linear'\]"),
        ("--steps 0", "--steps must be at least 1, got 0"),
        ("--shift -1", "--shift must be at least 0, got -1"),
        ("--refit", "it needs --select last"),
        ("--select first", "--select must be best or last, got 'first'"),
        ("--data-options steps=4", "--data-options takes name=value pairs of .*image.* for digits"),
        ("--data-options image=true", "image is True or False, got 'true'"),
        ("--data-options validation=few", "validation is a float like 0.1, got 'few'"),
        ("--data-options image=True,image=False", "has image twice"),
        ("--folds 3 --fold 3", "expected a fold in .*, found 3"),
        ("--limit 0", "--limit must be at least 1, got 0"),
        ("--limit -5", "--limit must be at least 1, got -5"),
        ("--batch 65", "--batch must lie in 1 to 64, the training samples of digits, got 65"),
        ("--batch 0", "--batch must be at least 1, got 0"),
        ("--tau-steps -2", "--tau-steps must be greater than 0, got -2.0"),
        ("--tau-steps nan", "--tau-steps must be greater than 0, got nan"),
        ("--readout-tau-steps -1", "--readout-tau-steps must be greater than 0, got -1.0"),
        ("--learning-rate nan", "--learning-rate must be greater than 0, got nan"),
        ("--energy-weight -1", "--energy-weight must be at least 0, got -1.0"),
        ("--dropout 1", "--dropout must be less than 1, got 1.0"),
        ("--epochs 0", "--epochs must be at least 1, got 0"),
        ("--epochs 1", "--warmup-epochs must be less than --epochs, got 1.0 of 1"),
        ("--seed -1", "--seed must be at least 0, got -1"),
        ("--widths 8,0", "expected one or more positive layer widths"),
        ("--encoder recorded", "'digits' is still: use --encoder direct, rate or latency"),
        ("--task every-step", r"\[T, B, C\], \[B, T\].*check the readout"),
        ("--state-bits 4", "--state-bits needs --weight-bits"),
        ("--weight-bits few", "--weight-bits must be a number of bits, learned or none, got 'few'"),
        ("--weight-bits 1", "bits must lie in 2 to 24, got bounds 1 and 1"),
        ("--weight-bits 4 --state-bits 8 --neuron alif", "only LIF, IF and LI .* got ALIF"),
        ("--weight-bits 4 --norm", "hidden_0: a normalisation has scales"),
        ("--resume", "expected one argument"),
        ("--epoch 3", "unrecognized arguments: --epoch 3"),
        ("--widht 3", "unrecognized arguments: --widht 3"),
    ],
)
def test_wrong_flags(flags, message, tiny_run, tmp_path, capsys):
    with pytest.raises((ValueError, SystemExit)) as stopped:
        tiny_run(tmp_path / "run", *flags.split())
    if stopped.type is SystemExit:
        assert stopped.value.code == 2
    said = f"{stopped.value} {capsys.readouterr().err}"
    assert re.search(message, said), said
    assert not (tmp_path / "run").exists()


def test_no_data_folder(tiny_run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'yinyang'.*nowhere does not exist.*--data-dir"):
        tiny_run(tmp_path / "run", "--dataset", "yinyang", "--data-dir", str(tmp_path / "nowhere"))
    (tmp_path / "data").mkdir()
    with pytest.raises(FileNotFoundError, match=r"train_samples.npy.* not found in .*Upstream"):
        tiny_run(tmp_path / "run", "--dataset", "yinyang", "--data-dir", str(tmp_path / "data"))
    assert not (tmp_path / "run").exists()


def test_damaged_data_file(tiny_run, tmp_path):
    folder = tmp_path / "data" / "yinyang"
    folder.mkdir(parents=True)
    for file in FILES.values():
        np.save(folder / file.name, np.zeros(3))
    before = contents(folder)
    with pytest.raises(ValueError, match=r"train_samples.npy: sha256 .*truncated, damaged or"):
        tiny_run(tmp_path / "run", "--dataset", "yinyang", "--data-dir", str(tmp_path / "data"))
    assert contents(folder) == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_that_is_not_finite(value, tiny_run, tmp_path, monkeypatch):
    stored = sklearn.datasets.load_digits()
    stored.data[:, 7] = value
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: stored)
    with pytest.raises(ValueError, match="'digits', split 'train': expected finite frames"):
        tiny_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folder_below_a_file(tiny_run, tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(OSError, match=r"output folder .*run cannot be written to .*--out"):
        tiny_run(file / "run")
    with pytest.raises(FileExistsError, match=r"belongs to something else: choose another folder"):
        tiny_run(file)
    assert file.read_text() == "kept"


def test_folder_without_permission(tiny_run, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(pathlib.Path, "mkdir", refuse)
    with pytest.raises(PermissionError, match=r"run cannot be written to \(Permission denied\)"):
        train.RunFolder.create(str(tmp_path / "run"), "digits", train.Config())


def test_folder_of_another_run(finished, tiny_run):
    before = contents(finished)
    with pytest.raises(FileExistsError, match=r"belongs to another run: .*--resume"):
        tiny_run(finished)
    assert contents(finished) == before


def test_folder_of_something_else(tiny_run, tmp_path):
    (tmp_path / "letter").write_text("kept")
    with pytest.raises(FileExistsError, match="belongs to something else"):
        tiny_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--seed 7 --widths 9 --epochs 3",
            r"another config \(seed: 0 in the run, 7 now; widths: \[8\] in the run, \[9\] now\)",
        ),
        ("--out elsewhere", "--resume takes everything from the run: leave --out"),
        ("--smoke", "--resume takes everything from the run: leave --out and --smoke away"),
        ("--sed 7", "unrecognized arguments: --sed 7"),
    ],
)
def test_resume_as_another_run(flags, message, finished, capsys):
    before = contents(finished)
    with pytest.raises((ValueError, SystemExit)) as stopped:
        train.run(["--resume", str(finished), *flags.split()])
    said = f"{stopped.value} {capsys.readouterr().err}"
    assert re.search(message, said), said
    assert contents(finished) == before


def test_resume_of_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json, so there is no run"):
        train.run(["--resume", str(tmp_path)])


def test_resume_of_a_config_with_other_options(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"warp": 9}))
    before = contents(folder)
    with pytest.raises(ValueError, match=r"config\.json was .* other options.*\(warp is unknown\)"):
        train.run(["--resume", str(folder)])
    assert contents(folder) == before


def test_checkpoint_of_a_newer_version(finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished, tmp_path / "run")
    checkpoints = Checkpoints(folder / "checkpoints")
    with monkeypatch.context() as newer:
        newer.setattr(jsnn.train.checkpoint, "FORMAT", jsnn.train.checkpoint.FORMAT + 1)
        checkpoints.save(4, {"layout": jnp.zeros(2)}, {"epoch": 4})
    before = contents(folder)
    with pytest.raises(ValueError, match=r"checkpoint 4 .* has format 3, .* up to 2: update jsnn"):
        train.run(["--resume", str(folder)])
    assert contents(folder) == before


def poison(monkeypatch, at: int):
    """Make weights NaN before a step (counted from 1), as a diverged optimiser would."""

    def spoilt(state):
        bad = jax.tree.map(lambda leaf: leaf * jnp.nan, state.params)
        return dataclasses.replace(state, params=bad)

    def of_steps(make):
        def poisoned(*args, **options):
            step = make(*args, **options)

            def after(state, data, index):
                return step(spoilt(state) if int(state.step) + 1 == at else state, data, index)

            return after

        return poisoned

    def of_epochs(make):
        def poisoned(*args, **options):
            epoch = make(*args, **options)

            def after(state, data, index):
                good = at - 1 - int(state.step)
                if not 0 <= good < len(index):
                    return epoch(state, data, index)
                pieces = []
                if good:
                    state, terms = epoch(state, data, index[:good])
                    pieces.append(terms)
                state, terms = epoch(spoilt(state), data, index[good:])
                return state, jax.tree.map(lambda *rows: jnp.concatenate(rows), *pieces, terms)

            return after

        return poisoned

    monkeypatch.setattr(program, "make_train_step", of_steps(program.make_train_step))
    monkeypatch.setattr(program, "make_epoch", of_epochs(program.make_epoch))


@pytest.mark.parametrize("loop", ["epoch", "step"])
def test_loss_that_is_not_finite(loop, finished, tiny_run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        poison(patched, at=7)
        with pytest.raises(
            FloatingPointError,
            match=r"step 7: task.* not finite\. The checkpoint of epoch 1 in ",
        ):
            tiny_run(folder, "--loop", loop)
    assert not (folder / "result.json").exists()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["1"]
    # The checkpoint is good: the run goes on from it as if nothing had been.
    result = train.run(["--resume", str(folder)])
    assert result["total_pj"] == json.loads((finished / "result.json").read_text())["total_pj"]


def test_loss_that_is_not_finite_before_any_checkpoint(tiny_run, tmp_path, monkeypatch):
    poison(monkeypatch, at=2)
    with pytest.raises(FloatingPointError, match=r"step 2: task.* No checkpoint was in .* yet"):
        tiny_run(tmp_path / "run")


def test_validation_that_is_not_finite(tiny_run, tmp_path, monkeypatch):
    evaluate = program.evaluate

    def broken(*args):
        return evaluate(*args) | {"task": np.float64(np.nan)}

    monkeypatch.setattr(program, "evaluate", broken)
    with pytest.raises(FloatingPointError, match="epoch 1: task of the validation set is not"):
        tiny_run(tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == ""


FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, FULL), errno.ENOSPC),
        # What tensorstore makes of a full disk.
        (ValueError(f"RESOURCE_EXHAUSTED: {FULL} [tensorstore_spec='{{}}']"), errno.EIO),
    ],
    ids=["orbax", "tensorstore"],
)
def test_disk_full_at_a_checkpoint(error, number, finished, tiny_run, tmp_path, monkeypatch):
    folder, seen = tmp_path / "run", {}

    def refuse(source, target):
        if Path(target).name == "2":
            seen.update(checkpoint(folder, 1))
            raise error
        rename(source, target)

    rename = os.rename
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse)
        with pytest.raises(OSError, match=FULL) as stopped:
            tiny_run(folder)
    assert re.search(
        rf"checkpoint of epoch 2 could not be written \(.*{FULL}\)\. The checkpoint of epoch 1 in "
        rf".* is whole\. Make room and continue the run \(--resume {folder}\)",
        str(stopped.value),
    )
    assert "tensorstore_spec" not in str(stopped.value)
    assert stopped.value.errno == number
    assert seen and checkpoint(folder, 1) == seen
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    result = train.run(["--resume", str(folder)])
    assert result["total_pj"] == json.loads((finished / "result.json").read_text())["total_pj"]


class FullDisk(io.StringIO):
    """A text file that takes ten characters."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def write(self, text):
        with open(self.path, "a") as file:
            file.write(text[:10])
        raise OSError(errno.ENOSPC, FULL)


def test_disk_full_in_the_metrics(finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished, tmp_path / "run")
    before = contents(folder)
    run = train.RunFolder(folder)
    rows = run.rows()
    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "open", lambda path, mode: FullDisk(path))
        with pytest.raises(OSError, match=rf"metrics.jsonl could not be written \({FULL}\): make"):
            run.append(rows[0])
    assert contents(folder) == before
    run.append({**rows[0], "epoch": 4})
    assert run.rows() == [*rows, {**rows[0], "epoch": 4}]


def test_disk_full_in_the_result(finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished, tmp_path / "run")

    before = contents(folder)
    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "open", lambda path, mode: FullDisk(path))
        with pytest.raises(OSError, match=rf"result.json could not be written \({FULL}\): make"):
            train.RunFolder(folder).write(folder / "result.json", {})
    assert contents(folder) == before

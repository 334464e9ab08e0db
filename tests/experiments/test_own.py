"""Runs on data and networks of a user's own, named on the command line."""

import json
import sys

import numpy as np
import pytest

from experiments import early_exit, energy_report, pareto, train
from experiments.build import dataset, model_class
from experiments.runconfig import configured

MODULE = '''
from pathlib import Path
import flax.linen as nn, numpy as np
from jsnn.data import from_arrays
from jsnn.nn.layers import Network, Spiking

Path(__file__).with_name("imported").touch()

def blink(seed, samples=48):
    rng, labels = np.random.default_rng(seed), np.arange(samples) % 3
    frames = rng.random((samples, 4, 6)) < 0.2
    return from_arrays("blink", frames, labels, time_axis=1, step_s=1e-3, seed=seed)

class Tiny(nn.Module):
    """Two spiking layers."""
    widths: tuple
    classes: int
    neuron: object
    readout_neuron: object
    readout: object
    input_kind: str

    @nn.compact
    def __call__(self, frames, train=False):
        first = Spiking(nn.Dense(self.widths[0], parent=None), self.neuron, self.input_kind)
        last = Spiking(
            nn.Dense(self.classes, parent=None), self.readout_neuron, readout=self.readout
        )
        return Network((first, last))(frames, train)

number = 3
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_own_things.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_own_things"
    sys.modules.pop("my_own_things", None)


def test_a_run_with_data_and_network_of_ones_own(module, tmp_path, compiled):
    names = ["--dataset", f"{module}:blink", "--model", f"{module}:Tiny"]
    folder = tmp_path / "run"
    options = "--epochs 2 --widths 5 --batch 8 --data-options samples=60".split()
    result = train.run([*names, *options, "--out", str(folder)])
    assert result["network"] == f"{module}:Tiny 6-5-3 lif"
    config = json.loads((folder / "config.json").read_text())
    assert config["encoder"] == "recorded" and config["data_options"] == "samples=60"
    # Whoever is given this run runs none of its code, unless he repeats the names.
    refused = f"names code of its own, {module}:blink, which would be imported and run: repeat"
    (tmp_path / "imported").unlink()
    del sys.modules[module]
    for run, words in ((train.run, ["--resume"]), (energy_report.run, []), (early_exit.run, [])):
        with pytest.raises(ValueError, match=refused):
            run([*words, str(folder)])
    assert not (tmp_path / "imported").exists() and module not in sys.modules
    again = train.run(["--resume", str(folder), *names])
    assert again["total_pj"] == result["total_pj"]
    report = energy_report.run([str(folder), *names])
    assert [r.hardware for r in report.reports] == ["neuromorphic-22nm"]


def test_a_pareto_front_names_code_too(module, tmp_path, monkeypatch):
    names = ["--dataset", f"{module}:blink", "--model", f"{module}:Tiny"]
    configs = []
    monkeypatch.setattr(pareto, "main", lambda options, config, *rest: configs.append(config))
    pareto.run([*names, "--weights", "0,1", "--seeds", "0", "--out", str(tmp_path / "front")])
    (tmp_path / "imported").unlink()
    del sys.modules[module]
    with pytest.raises(ValueError, match=f"names code of its own, {module}:blink"):
        pareto.run(["--resume", str(tmp_path / "front")])
    assert not (tmp_path / "imported").exists()
    with pytest.raises(ValueError, match="has another dataset"):
        pareto.run(["--resume", str(tmp_path / "front"), "--dataset", "digits"])
    pareto.run(["--resume", str(tmp_path / "front"), *names])
    assert configs[0] == configs[1]


@pytest.mark.parametrize(
    ("facts", "shape", "encoder"),
    [({}, (6,), "direct"), ({"time_axis": 2}, (6, 4), "recorded")],
)
def test_the_data_of_a_file_say_how_samples_become_frames(facts, shape, encoder, tmp_path):
    path = tmp_path / "mine.npz"
    frames = np.random.default_rng(0).random((40, *shape)) < 0.5
    np.savez(path, frames=frames if facts else frames * 1.0, labels=np.arange(40) % 4, **facts)
    config = configured({"dataset": str(path), "data_options": "test=0.3"})
    assert config.encoder == encoder
    assert len(dataset(config).test) == 12


def test_what_is_no_network_is_refused(module):
    with pytest.raises(ValueError, match=r"expected a class of flax\.linen modules, found 3"):
        model_class(f"{module}:number")
    with pytest.raises(ValueError, match=r"my_own_things has no 'Large': expected a class"):
        model_class(f"{module}:Large")
    with pytest.raises(ValueError, match="unknown model 'large'"):
        model_class("large")

"""Rules that pick window and loop, and the cache of compiled programs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments import build, train
from experiments.recipes import RECIPES
from jsnn.models import MLP, SRNN, ConvNet
from jsnn.nn import run
from jsnn.nn.time_plan import WHOLE, Chunked
from jsnn.train import pace

ROOT = Path(train.__file__).parents[1]
# Steps of a sample of each data set that a recipe trains on.
STEPS = {
    "digits": 6,
    "qtdb": 1300,
    "ev-objects": 25,
    "nmnist-small": 6,
    "fashion-mnist": 4,
    "fsdd": 64,
}


def shapes_of(model, frames):
    """The workload of one sample, without a computation."""
    variables = jax.eval_shape(model.init, jax.random.key(0), frames)
    return jax.eval_shape(lambda v, x: run(model, v, x)[1], variables, frames)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_goes_over_its_window_at_once(name):
    config = train.Config(**{"dataset": name} | RECIPES[name])
    make = {"mlp": MLP, "srnn": SRNN}[config.model]
    model = make(config.widths, 10, readout=build.readout(config))
    work = shapes_of(model, jnp.ones((STEPS[name], 1, 10)))
    assert pace.window(config.plan, work, config.batch, False).plan == WHOLE


def test_a_long_window_is_cut_unless_told_or_normed():
    work = shapes_of(MLP((128, 128), 20), jnp.ones((1000, 1, 7)))
    assert pace.window("auto", work, 128, False).plan == Chunked()
    assert pace.window("whole", work, 128, False) == (WHOLE, "as told")
    assert pace.window("chunked:4", work, 128, False).plan == Chunked(4)
    assert "batch norm" in pace.window("auto", work, 128, True).reason
    with pytest.raises(ValueError, match="a plan is auto"):
        pace.window("half", work, 128, False)


def test_the_loop_by_rule():
    small = shapes_of(MLP((8,), 3), jnp.ones((4, 1, 6)))
    large = shapes_of(SRNN((500,), 3), jnp.ones((50, 1, 6)))
    conv = shapes_of(ConvNet((4,), 3), jnp.ones((4, 1, 8, 8, 1)))
    cases = [
        (small, "cpu", None, "epoch"),
        (large, "cpu", None, "step"),
        (conv, "cpu", None, "step"),
        (conv, "gpu", 2**30, "epoch"),
        (large, "gpu", 2**30, "epoch"),
        (small, "gpu", 2**20, "host"),
    ]
    for work, platform, room, kind in cases:
        result = pace.loop("auto", work, 32, 2**20, platform, room)
        assert result.kind == kind
    assert pace.loop("step", small, 32, 0, "cpu", None) == ("step", "as told")
    with pytest.raises(ValueError, match="loop must be auto or one of epoch, step, host"):
        pace.loop("fast", small, 32, 0, "cpu", None)
    # 32 samples: 6·8 once for all steps, 8·3 in each of 4.
    assert "0.00461 million" in pace.loop("auto", small, 32, 0, "cpu", None).reason


START = "from experiments.compiled import keep_compiled; print(keep_compiled())"


def chosen_with(environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    ran = subprocess.run(
        [sys.executable, "-c", START],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return Path(ran.stdout.strip())


def test_compiled_programs_are_kept_in_the_users_cache(tmp_path):
    folder = chosen_with({"XDG_CACHE_HOME": str(tmp_path)})
    assert folder.parent == tmp_path / "jsnn" / "compiled"


def test_a_folder_chosen_before_stays(tmp_path):
    chosen = str(tmp_path / "mine")
    environment = {"JAX_COMPILATION_CACHE_DIR": chosen, "XDG_CACHE_HOME": str(tmp_path / "xdg")}
    assert chosen_with(environment) == Path(chosen)
    assert not (tmp_path / "xdg").exists()


def test_runs_keep_what_they_compile(tiny_flags, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path / "xdg")}
    out = tmp_path / "run"
    words = [*tiny_flags, "--epochs", "2", "--out", str(out)]
    ran = subprocess.run(
        [sys.executable, "-m", "experiments.train", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert "loop: epoch (" in ran.stdout and "window: whole (" in ran.stdout
    assert list((tmp_path / "xdg").rglob("*-cache"))
    assert "compile_cache" not in json.loads((out / "config.json").read_text())


@pytest.mark.parametrize("flags", [["--compile-cache"], ["--no-compile-cache"]])
def test_runs_keep_nothing_where_they_are_told_so(flags, tiny_run, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(train, "keep_compiled", lambda: asked.append(flags))
    tiny_run(tmp_path / "run", *flags)
    assert bool(asked) == (flags == ["--compile-cache"])

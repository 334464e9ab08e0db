"""Flags that a run would not read are refused, whoever else carries them."""

import types

import pytest

from experiments import build
from experiments.recipes import RECIPES
from experiments.runconfig import configured


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"hidden": 64}, "--hidden would change nothing: --model mlp has none"),
        ({"model": "conv", "norm": True}, "--norm .* --model conv has none"),
        ({"model": "srnn", "gain": 0.5}, "--gain .* --model srnn has none"),
        ({"use_bias": False}, "--use-bias .* --model mlp has none"),
        ({"neuron": "brf", "tau_steps": 5.0}, "--tau-steps .* --neuron brf has none"),
        ({"neuron": "alif", "reset": "zero"}, "--reset .* --neuron alif has none"),
        ({"readout": "spike-count", "readout_gain": 2.0}, "--readout-gain .* counts spikes"),
        ({"exit_loss": 0.01}, "--exit-loss .* needs --early-exit"),
        ({"prune_rate": 1.0}, "--prune-rate .* needs --prune"),
        ({"bits_scale": 1.0}, "--bits-scale .* needs --weight-bits"),
        ({"window_scale": 1.0, "window": "3"}, "--window-scale .* needs a learned --window"),
        ({"design_rate": 1.0}, "--design-rate .* needs --design-parameters"),
        ({"supply_v": 0.8}, "--supply-v .* needs --design-parameters"),
        ({"folds": 3}, "--folds .* needs --fold"),
        ({"delta_threshold": 0.2}, "--delta-threshold .* needs --encoder delta"),
    ],
)
def test_a_flag_without_effect_is_refused(flags, complaint):
    with pytest.raises(ValueError, match=complaint):
        configured(flags)


@pytest.mark.parametrize(
    "flags",
    [
        {"model": "conv", "hidden": 64},
        {"norm": True, "gain": 0.5},
        {"exit_loss": 0.01, "early_exit": "gap"},
        {"prune_rate": 1.0, "prune": "units"},
        {"window_scale": 1.0, "window": "learned"},
        {"folds": 3, "fold": 0},
        # What asks for the default changes nothing either way.
        {"model": "conv", "norm": False},
        # The recipe has a gain and dropout for its own model.
        {"dataset": "ev-objects", "model": "srnn"},
    ],
)
def test_a_flag_with_an_effect_is_not(flags):
    config = configured(flags)
    assert all(getattr(config, name) == value for name, value in flags.items())


@pytest.mark.parametrize("dataset", RECIPES)
def test_recipes_carry_nothing_in_vain(dataset):
    assert configured({"dataset": dataset, **RECIPES[dataset]}).dataset == dataset


def test_recorded_data_have_steps_of_their_own():
    timed = types.SimpleNamespace(name="fsdd", timed=True, analog=False)
    with pytest.raises(ValueError, match=r"--steps is for still samples, 'fsdd' .*--window N"):
        build.encoder(configured({"dataset": "fsdd", "steps": 20}), timed)
    assert build.encoder(configured({"dataset": "fsdd"}), timed).input_kind == "events"

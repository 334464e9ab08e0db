"""Result of a run from its chosen epoch: window, budget, the single test and its levers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import integers, machines, pruned, windows
from experiments.runconfig import Config
from experiments.setting import Begun, Setting
from experiments.summary import at_bits, parameters, versions
from jsnn.codesign.hardware.design_parameters import DesignParameters
from jsnn.codesign.pruning.apply import AppliedPruning, apply_pruning
from jsnn.codesign.time_window import Window
from jsnn.nn import run
from jsnn.train import diagnosis, score_of
from jsnn.train.evaluation import evaluate, make_eval_step, means
from jsnn.train.levers import LEVERS, price, under, without
from jsnn.train.state import TrainState


def finish(
    config: Config,
    setting: Setting,
    begun: Begun,
    chosen: TrainState,
    epoch: int,
    rows: Sequence[dict[str, Any]],
    path: Path,
) -> tuple[Setting, TrainState, dict, dict[str, Any]]:
    """Bring the chosen network under its budget and test it once.

    Returns the setting and the network that were tested, the sums and the result.

    Args:
        config, made, begun: of the run.
        chosen: state of the chosen epoch.
        epoch: its number.
        rows: metrics of the run.
        path: folder of the run.
    """
    first, budget_of_run, data, test = begun.first, begun.budget_of_run, setting.data, setting.test
    held, settled, test_key = None, None, jax.random.key(config.seed + 1)
    if windows.learned(config):
        sums = evaluate(setting.eval_step, chosen.variables, test, config.batch, test_key)
        setting, chosen, settled = _settle(config, setting, begun, chosen)
        settled["relaxed"] |= {name: means(sums, first)[name] for name in windows.SHOWN}
    design = None
    if config.design_parameters != machines.NONE:
        setting, design = _feasible(config, setting, begun, chosen, path)
    if budget_of_run is not None:
        chosen, held = budget_of_run.apply(setting, chosen, config, rows)
    sums = evaluate(setting.eval_step, chosen.variables, test, config.batch, test_key)
    measured = means(sums, first)
    grids, cut, exact, ever = setting.model, chosen.variables, {}, sums["ever"]
    if config.prune != "none":
        small, exact["pruned"] = _pruned(setting, chosen, config, test_key, path)
        grids, cut = small.model, small.variables
        # Pruned units do not count as silent.
        ever = [
            np.asarray(spikes)[..., small.units.get(name, slice(None))]
            for name, spikes in zip(first.layers, ever, strict=True)
        ]
    if config.weight_bits is not None:
        # The tested network was quantised already.
        bits, rounded = config.weight_bits, sums
        shown = (data.test.frames, data.test.labels)
        report = integers.report(grids, cut, setting.encoder, shown, test_key, config.batch)
        if network := report.pop("network"):
            network.save(path / "integers.npz")
        exact |= report
    else:
        bits = int(setting.hardware.design.weight_bits or 32)
        narrow = at_bits(chosen, bits).variables
        rounded = evaluate(setting.eval_step, narrow, test, config.batch, test_key)
    spiking = [layer.geometry.spiking for layer in setting.traced]
    validation_accuracy = rows[epoch - 1]["validation_accuracy"]
    if held is not None:
        validation_accuracy = held["accuracy"]["validation"]
        held = budget_of_run.measured(held, "test", sums)
    result = {
        "config": dataclasses.asdict(config),
        "chosen_epoch": epoch,
        # On samples that were trained on it would mean nothing.
        "validation_accuracy": None if config.refit else validation_accuracy,
        "test_accuracy": measured["accuracy"],
        "test_accuracy_at_weight_bits": {
            "weight_bits": bits,
            "accuracy": rounded["accuracy"] / rounded["samples"],
        },
        **exact,
        "test_majority": data.test.majority,
        "initial_pj": begun.start.initial_pj,
        **{name: value for name, value in measured.items() if name != "accuracy"},
        "silent_layers": diagnosis.silent_layers(first.layers, ever, spiking),
        **({} if held is None else {"budget": held}),
        "steps": len(jax.eval_shape(setting.encoder, test_key, data.test.frames[:1])),
        "network": f"{config.model} {sizes(setting)} {config.neuron}",
        "layers": list(first.layers),
        "parameters": parameters(chosen),
        "constants": list(first.provenances),
        "unpriced": dict(first.unpriced),
        "left_out": list(first.left_out),
        "data_notes": data.notes,
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
    }
    if design is not None:
        result["design"] = design
    if settled is not None:
        settled["whole"] |= {name: measured[name] for name in windows.SHOWN}
        result["window"] = settled
    if config.early_exit is not None:
        result["early_exit"] = _early_exit(config, setting, chosen)
    return setting, chosen, sums, result


def _early_exit(config: Config, setting: Setting, chosen: TrainState) -> dict[str, Any]:
    """Result of early exit on test, with the threshold chosen on validation."""
    network = windows.Chosen(setting.model, jax.device_get(chosen.variables), setting.encoder)
    rule, answers = config.early_exit, []
    for number, split in enumerate((setting.validation, setting.test)):
        key = jax.random.key(config.seed + number)
        answers.append(
            windows.answers(network, setting.hardware, split, config.batch, key, (rule,))
        )
    return windows.exits(*answers, rule, config.exit_loss)


def _settle(
    config: Config, setting: Setting, begun: Begun, chosen: TrainState
) -> tuple[Setting, TrainState, dict[str, Any]]:
    """Whole steps for a learned window: rounded up or down, the better on validation."""
    (lever,) = (each for each in setting.levers if isinstance(each, Window))
    leaf = jax.device_get(chosen.params[LEVERS][lever.name])
    rest = tuple(each for each in setting.levers if each is not lever)
    chosen = dataclasses.replace(chosen, params=without(chosen.params, lever.name))
    model, bare = under(setting.network, rest), dataclasses.replace(setting.objective, levers=rest)
    ways, tried = [], []
    for steps in lever.whole(leaf):
        encoder = windows.First(setting.encoder, steps)
        measure = make_eval_step(model, bare, encoder, plan=setting.window.plan)
        way = dataclasses.replace(
            setting,
            model=model,
            levers=rest,
            encoder=encoder,
            objective=bare,
            eval_step=setting.devices.evaluation(measure),
        )
        key = jax.random.key(config.seed)
        sums = evaluate(way.eval_step, chosen.variables, setting.validation, config.batch, key)
        figures = means(sums, begun.first)
        score = score_of(bare, sums, begun.start.numbers)
        ways.append(way)
        tried.append({"steps": steps, "score": score} | {n: figures[n] for n in windows.SHOWN})
    best = max(range(len(tried)), key=lambda number: tried[number]["score"])
    figures = {
        "relaxed": {"steps": float(lever.steps(leaf))},
        "tried_on_validation": tried,
        "whole": {"steps": tried[best]["steps"]},
    }
    return ways[best], chosen, figures


def _feasible(
    config: Config, setting: Setting, begun: Begun, chosen: TrainState, path: Path
) -> tuple[Setting, dict[str, Any]]:
    """The setting on the machine that can be built; scores of it and the relaxed one."""
    lever = next(each for each in setting.levers if isinstance(each, DesignParameters))

    def on(feasible: bool) -> Setting:
        moved = dataclasses.replace(lever, feasible=feasible)
        levers = tuple(moved if each is lever else each for each in setting.levers)
        model = under(setting.model.model, levers)
        objective = dataclasses.replace(setting.objective, levers=levers)
        measure = make_eval_step(model, objective, setting.encoder, plan=setting.window.plan)
        measure = setting.devices.evaluation(measure)
        return dataclasses.replace(
            setting, model=model, levers=levers, objective=objective, eval_step=measure
        )

    variables = jax.device_get(chosen.variables)
    key = jax.random.key(config.seed)
    frames = setting.encoder(key, setting.data.train.frames[: config.batch])
    work = run(setting.model, variables, frames)[1]
    # This lever comes last: it is given the workload after all others.
    before = tuple(each for each in setting.levers if each is not lever)
    params = without(variables["params"], lever.name)
    work = dataclasses.replace(work, levers=tuple(each.name for each in before))
    pairs = price(before, params, work, setting.hardware)
    written = machines.written(lever, variables["params"][LEVERS][lever.name], pairs, path)
    shown, ways = {}, {"relaxed": on(False), "feasible": on(True)}
    for name, way in ways.items():
        sums = evaluate(way.eval_step, variables, setting.validation, config.batch, key)
        measured = means(sums, begun.first)
        shown[name] = {n: measured[n] for n in windows.SHOWN}
    return ways["feasible"], {**written, "validation": shown}


def _pruned(
    setting: Setting, chosen: TrainState, config: Config, key: jax.Array, path: Path
) -> tuple[AppliedPruning, dict[str, Any]]:
    """The pruned network, exported, and its measurements on test: an entry of the result."""
    frames, labels = test = setting.data.test.frames, setting.data.test.labels

    def measure(small: AppliedPruning) -> dict[str, float]:
        objective = dataclasses.replace(setting.objective, levers=small.levers, terms=())
        step = make_eval_step(small.model, objective, setting.encoder)
        sums = evaluate(step, small.variables, test, config.batch, key)
        return {
            "test_accuracy": float(sums["accuracy"] / sums["samples"]),
            "dense_pj": float(sums["parts_pj"].sum() / sums["samples"]),
        }

    batches = [
        setting.encoder(jax.random.fold_in(key, number), frames[start : start + config.batch])
        for number, start in enumerate(range(0, len(labels), config.batch))
    ]
    small = apply_pruning(setting.model, chosen.variables)
    return small, pruned.written_out(small, setting.hardware, batches, measure, path, config.prune)


def sizes(setting: Setting) -> str:
    """Inputs of every layer and classes, as `64-256-10`."""
    inputs = "-".join(str(layer.geometry.inputs) for layer in setting.traced)
    return f"{inputs}-{setting.data.classes}"

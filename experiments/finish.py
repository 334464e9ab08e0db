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
    made: Setting,
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
    first, budget_of_run, data, test = begun.first, begun.budget_of_run, made.data, made.test
    held, settled, test_key = None, None, jax.random.key(config.seed + 1)
    if windows.learned(config):
        sums = evaluate(made.eval_step, chosen.variables, test, config.batch, test_key)
        made, chosen, settled = _settle(config, made, begun, chosen)
        settled["relaxed"] |= {name: means(sums, first)[name] for name in windows.SHOWN}
    design = None
    if config.design_parameters != machines.NONE:
        made, design = _feasible(config, made, begun, chosen, path)
    if budget_of_run is not None:
        chosen, held = budget_of_run.apply(made, chosen, config, rows)
    sums = evaluate(made.eval_step, chosen.variables, test, config.batch, test_key)
    measured = means(sums, first)
    grids, cut, exact, ever = made.model, chosen.variables, {}, sums["ever"]
    if config.prune != "none":
        small, exact["pruned"] = _pruned(made, chosen, config, test_key, path)
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
        report = integers.report(grids, cut, made.encoder, shown, test_key, config.batch)
        if network := report.pop("network"):
            network.save(path / "integers.npz")
        exact |= report
    else:
        bits = int(made.hardware.design.weight_bits or 32)
        narrow = at_bits(chosen, bits).variables
        rounded = evaluate(made.eval_step, narrow, test, config.batch, test_key)
    spiking = [layer.geometry.spiking for layer in made.traced]
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
        "steps": len(jax.eval_shape(made.encoder, test_key, data.test.frames[:1])),
        "network": f"{config.model} {sizes(made)} {config.neuron}",
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
        result["early_exit"] = _early_exit(config, made, chosen)
    return made, chosen, sums, result


def _early_exit(config: Config, made: Setting, chosen: TrainState) -> dict[str, Any]:
    """Result of early exit on test, with the threshold chosen on validation."""
    network = windows.Chosen(made.model, jax.device_get(chosen.variables), made.encoder)
    rule, found = config.early_exit, []
    for number, split in enumerate((made.validation, made.test)):
        key = jax.random.key(config.seed + number)
        found.append(windows.answers(network, made.hardware, split, config.batch, key, (rule,)))
    return windows.exits(*found, rule, config.exit_loss)


def _settle(
    config: Config, made: Setting, begun: Begun, chosen: TrainState
) -> tuple[Setting, TrainState, dict[str, Any]]:
    """Whole steps for a learned window: rounded up or down, the better on validation."""
    (lever,) = (one for one in made.levers if isinstance(one, Window))
    leaf = jax.device_get(chosen.params[LEVERS][lever.name])
    rest = tuple(one for one in made.levers if one is not lever)
    chosen = dataclasses.replace(chosen, params=without(chosen.params, lever.name))
    model, bare = under(made.network, rest), dataclasses.replace(made.objective, levers=rest)
    ways, tried = [], []
    for steps in lever.whole(leaf):
        encoder = windows.First(made.encoder, steps)
        measure = make_eval_step(model, bare, encoder, plan=made.window.plan)
        way = dataclasses.replace(
            made,
            model=model,
            levers=rest,
            encoder=encoder,
            objective=bare,
            eval_step=made.devices.evaluation(measure),
        )
        key = jax.random.key(config.seed)
        sums = evaluate(way.eval_step, chosen.variables, made.validation, config.batch, key)
        found = means(sums, begun.first)
        score = score_of(bare, sums, begun.start.numbers)
        ways.append(way)
        tried.append({"steps": steps, "score": score} | {n: found[n] for n in windows.SHOWN})
    best = max(range(len(tried)), key=lambda number: tried[number]["score"])
    found = {
        "relaxed": {"steps": float(lever.steps(leaf))},
        "tried_on_validation": tried,
        "whole": {"steps": tried[best]["steps"]},
    }
    return ways[best], chosen, found


def _feasible(
    config: Config, made: Setting, begun: Begun, chosen: TrainState, path: Path
) -> tuple[Setting, dict[str, Any]]:
    """The setting on the machine that can be built; scores of it and the relaxed one."""
    lever = next(one for one in made.levers if isinstance(one, DesignParameters))

    def on(feasible: bool) -> Setting:
        moved = dataclasses.replace(lever, feasible=feasible)
        levers = tuple(moved if one is lever else one for one in made.levers)
        model = under(made.model.model, levers)
        objective = dataclasses.replace(made.objective, levers=levers)
        measure = make_eval_step(model, objective, made.encoder, plan=made.window.plan)
        measure = made.devices.evaluation(measure)
        return dataclasses.replace(
            made, model=model, levers=levers, objective=objective, eval_step=measure
        )

    variables = jax.device_get(chosen.variables)
    key = jax.random.key(config.seed)
    frames = made.encoder(key, made.data.train.frames[: config.batch])
    work = run(made.model, variables, frames)[1]
    # This lever comes last: it is given the workload after all others.
    before = tuple(one for one in made.levers if one is not lever)
    params = without(variables["params"], lever.name)
    work = dataclasses.replace(work, levers=tuple(one.name for one in before))
    pairs = price(before, params, work, made.hardware)
    found = machines.written(lever, variables["params"][LEVERS][lever.name], pairs, path)
    shown, ways = {}, {"relaxed": on(False), "feasible": on(True)}
    for name, one in ways.items():
        sums = evaluate(one.eval_step, variables, made.validation, config.batch, key)
        measured = means(sums, begun.first)
        shown[name] = {n: measured[n] for n in windows.SHOWN}
    return ways["feasible"], {**found, "validation": shown}


def _pruned(
    made: Setting, chosen: TrainState, config: Config, key: jax.Array, path: Path
) -> tuple[AppliedPruning, dict[str, Any]]:
    """The pruned network, exported, and its measurements on test: an entry of the result."""
    frames, labels = test = made.data.test.frames, made.data.test.labels

    def measure(small: AppliedPruning) -> dict[str, float]:
        objective = dataclasses.replace(made.objective, levers=small.levers, terms=())
        step = make_eval_step(small.model, objective, made.encoder)
        sums = evaluate(step, small.variables, test, config.batch, key)
        return {
            "test_accuracy": float(sums["accuracy"] / sums["samples"]),
            "dense_pj": float(sums["parts_pj"].sum() / sums["samples"]),
        }

    batches = [
        made.encoder(jax.random.fold_in(key, number), frames[start : start + config.batch])
        for number, start in enumerate(range(0, len(labels), config.batch))
    ]
    small = apply_pruning(made.model, chosen.variables)
    return small, pruned.written_out(small, made.hardware, batches, measure, path, config.prune)


def sizes(made: Setting) -> str:
    """Inputs of every layer and classes, as `64-256-10`."""
    inputs = "-".join(str(layer.geometry.inputs) for layer in made.traced)
    return f"{inputs}-{made.data.classes}"

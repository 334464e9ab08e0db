"""From the chosen epoch to the result: window, budget, test once, and what its levers come to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from experiments import holding, integers, pruned, windows
from experiments.runconfig import Config
from experiments.setting import Begun, Setting
from experiments.summary import at_bits, parameters, summary, versions
from jsnn import diagnose
from jsnn.training import TrainState, evaluate, make_eval_step


def score_of(
    config: Config, row: dict, sums: dict, reference_pj: float, hold: holding.Hold | None
) -> float:
    """What an epoch is chosen by: the trade of the loss, with accuracy in place of its task."""
    if hold is not None:
        return row["validation_accuracy"] - hold.penalty(sums)
    return row["validation_accuracy"] - config.energy_weight * row["validation_pj"] / reference_pj


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
    first, hold, data, test = begun.first, begun.hold, made.data, made.test
    held, settled, test_key = None, None, jax.random.key(config.seed + 1)
    if windows.learned(config):
        sums = evaluate(made.eval_step, chosen.variables, test, config.batch, test_key)
        made, chosen, settled = _settle(config, made, begun, chosen)
        settled["relaxed"] |= {name: summary(sums, first)[name] for name in windows.SHOWN}
    if hold is not None:
        chosen, held = hold.apply(made, chosen, config, rows)
    sums = evaluate(made.eval_step, chosen.variables, test, config.batch, test_key)
    measured = summary(sums, first)
    quantised = {}
    if config.weight_bits is not None:
        # What was tested ran on its grids already.
        bits, rounded = config.weight_bits, sums
        shown = (data.test.frames, data.test.labels)
        quantised = integers.report(
            made.model, chosen.variables, made.encoder, shown, test_key, config.batch
        )
        if network := quantised.pop("network"):
            network.save(path / "integers.npz")
    else:
        bits = int(made.hardware.design.weight_bits or 32)
        narrow = at_bits(chosen, bits).variables
        rounded = evaluate(made.eval_step, narrow, test, config.batch, test_key)
    spiking = [layer.geometry.spiking for layer in made.traced]
    validation_accuracy = rows[epoch - 1]["validation_accuracy"]
    if held is not None:
        validation_accuracy = held["accuracy"]["validation"]
        held = hold.tested(held, sums)
    result = {
        "config": dataclasses.asdict(config),
        "chosen_epoch": epoch,
        # Of samples that were trained on it would say nothing.
        "validation_accuracy": None if config.refit else validation_accuracy,
        "test_accuracy": measured["accuracy"],
        "test_accuracy_at_weight_bits": {
            "weight_bits": bits,
            "accuracy": rounded["accuracy"] / rounded["samples"],
        },
        **quantised,
        "test_majority": data.test.majority,
        "initial_pj": float(begun.state.reference_pj),
        **{name: value for name, value in measured.items() if name != "accuracy"},
        "silent_layers": diagnose.silent_layers(first.layers, sums["ever"], spiking),
        **({} if held is None else {"budget": held}),
        "steps": len(jax.eval_shape(made.encoder, test_key, data.test.frames[:1])),
        "network": f"{config.model} {sizes(made)} {config.neuron}",
        "layers": list(first.layers),
        "parameters": parameters(chosen),
        "constants": list(first.marks),
        "unpriced": dict(first.unpriced),
        "data_notes": data.notes,
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
    }
    if settled is not None:
        settled["whole"] |= {name: measured[name] for name in windows.SHOWN}
        result["window"] = settled
    if config.early_exit is not None:
        result["early_exit"] = _early_exit(config, made, chosen)
    if config.prune != "none":
        result["pruned"] = _pruned(made, chosen, config, test, test_key, path)
    return made, chosen, sums, result


def _early_exit(config: Config, made: Setting, chosen: TrainState) -> dict[str, Any]:
    """What stopping each sample once sure gives on test, the threshold chosen on validation."""
    network = windows.Chosen(made.model, jax.device_get(chosen.variables), made.encoder)
    rule, found = config.early_exit, []
    for number, split in enumerate((made.validation, made.test)):
        key = jax.random.key(config.seed + number)
        found.append(windows.answers(network, made.hardware, split, config.batch, key, (rule,)))
    return windows.exits(*found, rule, config.exit_loss)


def _settle(
    config: Config, made: Setting, begun: Begun, chosen: TrainState
) -> tuple[Setting, TrainState, dict[str, Any]]:
    """Whole steps for a learned window: of those on both sides the better on validation."""
    (lever,) = made.levers
    leaf = jax.device_get(chosen.params["levers"][lever.name])
    variables = windows.plain(chosen.variables)
    bare = dataclasses.replace(made.objective, levers=())
    ways, tried = [], []
    for steps in lever.whole(leaf):
        encoder = windows.First(made.encoder, steps)
        measure = make_eval_step(made.network, bare, encoder, plan=made.window.plan)
        way = made._replace(
            model=made.network,
            levers=(),
            encoder=encoder,
            objective=bare,
            eval_step=made.devices.evaluation(measure),
        )
        key = jax.random.key(config.seed)
        sums = evaluate(way.eval_step, variables, made.validation, config.batch, key)
        found = summary(sums, begun.first)
        row = {"validation_pj": found["total_pj"], "validation_accuracy": found["accuracy"]}
        score = score_of(config, row, sums, float(chosen.reference_pj), begun.hold)
        ways.append(way)
        tried.append({"steps": steps, "score": score} | {n: found[n] for n in windows.SHOWN})
    best = max(range(len(tried)), key=lambda number: tried[number]["score"])
    found = {
        "relaxed": {"steps": float(lever.steps(leaf))},
        "tried_on_validation": tried,
        "whole": {"steps": tried[best]["steps"]},
    }
    return ways[best], dataclasses.replace(chosen, params=variables["params"]), found


def _pruned(
    made: Setting, chosen: TrainState, config: Config, test: tuple, key: jax.Array, path: Path
) -> dict[str, Any]:
    """The pruned network, written out and measured on test samples; an entry of the result."""
    plain = dataclasses.replace(made.objective, levers=(), constraint=None)

    def measure(model, variables) -> dict[str, float]:
        step = make_eval_step(model, plain, made.encoder)
        sums = evaluate(step, variables, test, config.batch, key)
        return {
            "test_accuracy": float(sums["accuracy"] / sums["samples"]),
            "dense_pj": float(sums["parts_pj"].sum() / sums["samples"]),
        }

    starts = range(0, len(test[0]), config.batch)
    batches = [
        made.encoder(jax.random.fold_in(key, number), test[0][start : start + config.batch])
        for number, start in enumerate(starts)
    ]
    variables = jax.device_get(chosen.variables)
    return pruned.written_out(
        made.levers[0], made.network, variables, made.hardware, batches, measure, path
    )


def sizes(made: Setting) -> str:
    inputs = "-".join(str(layer.geometry.inputs) for layer in made.traced)
    return f"{inputs}-{made.data.classes}"

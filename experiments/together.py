"""Runs trained in lockstep: one vmapped epoch for all runs, distributed over devices."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from experiments.finish import finish
from experiments.runconfig import Config
from experiments.setting import Begun, Setting, begin
from experiments.summary import since
from jsnn.train import draw_order, score_of, training_figures, validation_figures
from jsnn.train.budget import Infeasible
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.devices import Devices
from jsnn.train.evaluation import evaluate
from jsnn.train.run_folder import RunFolder
from jsnn.train.saving import checkpoint_record, without_terms


def train(
    configs: Sequence[Config], setting: Setting, devices: Devices, folders: Sequence[RunFolder]
) -> list[str | None]:
    """Train the runs in lockstep; returns why each is infeasible, None for the others.

    Each has the keys, batches and numbers of its own run, so that it becomes the same network up to
    rounding. Evaluations of one epoch share a key. An interrupted group starts again.

    Args:
        configs: of the runs, which share one program (`experiments.setting.program`).
        setting: their setting.
        devices: a single device, for each run before it begins and after it has ended.
        folders: of their runs.

    Raises:
        ValueError: the set does not fit on the device, so that epochs are not single calls.
        FloatingPointError: a value of a run is not finite.
    """
    if setting.loop.kind != "epoch":
        raise ValueError(
            f"runs train together by whole epochs, the loop is {setting.loop.kind} "
            f"({setting.loop.reason}): use --together turns, or --loop epoch"
        )
    started = time.perf_counter()
    errors, live = [None] * len(configs), []
    for number, config in enumerate(configs):
        try:
            live.append((number, begin(config, setting, devices)))
        except Infeasible as error:
            errors[number] = str(error)
    if not live:
        return errors
    numbers, begun = zip(*live, strict=True)
    every = [configs[number] for number in numbers]
    own, shared = _placement(len(every))
    states = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *[first_state.state for first_state in begun]
    )
    states, data = jax.device_put(states, own), jax.device_put(setting.train, shared)
    advance = jax.jit(
        jax.vmap(setting.advance, in_axes=(0, None, 0)), donate_argnums=0, out_shardings=own
    )
    measure = jax.jit(
        jax.vmap(setting.eval_step, in_axes=(0, None, None, None, None)), out_shardings=own
    )
    best, scores = jax.tree.map(jnp.copy, states), [(-np.inf, -np.inf)] * len(every)
    chosen = np.zeros(len(every), int)
    rows: list[list[dict[str, Any]]] = [[] for _ in every]
    for epoch in range(1, every[0].epochs + 1):
        orders = [
            draw_order(config.seed, epoch, setting.samples, setting.batch) for config in every
        ]
        states, terms = advance(states, data, jax.device_put(np.stack(orders), own))
        terms = jax.device_get(terms)
        key = jax.random.key(every[0].seed)
        sums = evaluate(measure, states.variables, setting.validation, every[0].batch, key)
        better = np.zeros(len(every), bool)
        for n, config in enumerate(every):
            mine = jax.tree.map(lambda leaf, n=n: leaf[n], sums)
            first = begun[n].first
            row = {"epoch": epoch, **training_figures(_by_step(terms, n), first)}
            row |= validation_figures(mine, first)
            _stop_if_not_finite(terms["finite"][n], row, folders[numbers[n]])
            rows[n].append(row | {"seconds": since(started)})
            score = (
                score_of(setting.objective, mine, begun[n].start.numbers),
                -row["validation_task"],
            )
            better[n] = score > scores[n] or config.select == "last"
            if better[n]:
                scores[n], chosen[n] = score, epoch
        best = _where(better, states, best)
    for n, (config, first_state) in enumerate(zip(every, begun, strict=True)):
        last, picked = (_of_run(tree, n) for tree in (states, best))
        errors[numbers[n]] = _end(
            config,
            setting,
            first_state,
            last,
            picked,
            int(chosen[n]),
            rows[n],
            folders[numbers[n]],
            started,
        )
    return errors


def even(runs: int, devices: int) -> int:
    """The largest number of devices that can have the same number of runs each.

    >>> [even(runs, 8) for runs in (16, 12, 7, 3)]
    [8, 6, 7, 3]
    """
    return max(count for count in range(1, devices + 1) if runs % count == 0)


def _placement(runs: int) -> tuple[NamedSharding, NamedSharding]:
    """Sharding of arrays with a leading axis of runs, and of arrays they share."""
    there = jax.local_devices()
    mesh = Mesh(np.array(there[: even(runs, len(there))]), ("run",))
    return NamedSharding(mesh, Spec("run")), NamedSharding(mesh, Spec())


def _end(config, setting, begun: Begun, last, picked, epoch, rows, folder, started) -> str | None:
    """Write all files of a run; returns why it is infeasible, None if it is not."""
    folder.rewind(rows)
    best = {"score": 0.0, "task": 0.0, "epoch": epoch}
    record = checkpoint_record(folder, config.epochs, best, rows)
    checkpoints = Checkpoints(folder.checkpoints)
    checkpoints.rewind(0)
    checkpoints.save(config.epochs, {"state": last, "best": picked}, record)
    *_, result = finish(config, setting, begun, picked, epoch, rows, folder.path)
    result |= {"devices": 1, "platform": platform.platform(), "seconds": since(started)}
    folder.write(folder.result, result)
    if begun.budget_of_run is not None:
        try:
            begun.budget_of_run.check(result["budget"], folder.path)
        except Infeasible as error:
            return str(error)
    return None


def _by_step(terms: dict[str, np.ndarray], n: int) -> list[dict[str, Any]]:
    steps = len(terms["loss"][n])
    return [{name: rows[n][step] for name, rows in terms.items()} for step in range(steps)]


def _where(mask: np.ndarray, new: Any, old: Any) -> Any:
    def pick(a, b):
        return jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, new, old)


def _of_run(states: Any, n: int) -> Any:
    """One state of many on one device, as it is kept."""
    own = jax.device_put(jax.tree.map(lambda leaf: leaf[n], states), jax.local_devices()[0])
    return without_terms(own)


def _stop_if_not_finite(finite: np.ndarray, row: dict[str, Any], folder: RunFolder) -> None:
    validated = np.isfinite([row["validation_task"], row["validation_pj"]]).all()
    if not (finite.all() and validated):
        raise FloatingPointError(
            f"{folder.path.name}, epoch {row['epoch']}: loss, gradient or energy is not finite. "
            "Lower --learning-rate or --clip, or leave this run away"
        )

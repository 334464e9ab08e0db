"""The training loop: epochs of a program, each evaluated, the best one kept."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from jsnn._checks import whole_number
from jsnn.energy import EnergyBreakdown
from jsnn.train.checkpoint import Checkpoints, array_digest
from jsnn.train.evaluation import RESERVED, means
from jsnn.train.fitted import Best, Callback, Diverged, Fitted
from jsnn.train.objective import Objective
from jsnn.train.program import Data, Program, Start, compile_program
from jsnn.train.run_folder import RunFolder
from jsnn.train.saving import Saving, check_config
from jsnn.train.state import Encoder, TrainState

__all__ = [
    "SELECT",
    "draw_order",
    "fit",
    "fit_program",
    "score_of",
    "training_figures",
    "validation_figures",
]

# Which epoch is taken in the end.
SELECT = ("best", "last")


def fit(
    model: Any,
    objective: Objective,
    optimiser: optax.GradientTransformation,
    encoder: Encoder,
    train: Data,
    validation: Data | None = None,
    *,
    epochs: int,
    batch: int,
    seed: int = 0,
    select: str = "best",
    callbacks: Sequence[Callback] = (),
    folder: str | Path | None = None,
    **options: Any,
) -> Fitted:
    """Train a network: `compile_program`, `Program.start`, then `fit_program`.

    Args:
        model: the network, or `Levered` with its levers.
        objective: loss and terms.
        optimiser: from `make_optimiser`, or any optax transformation.
        encoder: turns samples into frames `[T, B, ...]`.
        train: samples `[N, ...]` and labels.
        validation: the same; None: the last epoch is taken.
        epochs: passes over the training samples.
        batch: samples of a step.
        seed: of weights, batches and encoder.
        select: `best` on validation, or `last`.
        callbacks: look on.
        folder: where the run is saved while it trains (`jsnn.train.Saving`); a run that was stopped
            there, or shall have more epochs, goes on from its last checkpoint, bit for bit. A run
            of another model, objective, encoder or data is refused, where functions are told apart
            by their names; give it the same optimiser.
        options: of `compile_program`.

    Raises:
        ValueError: arguments that do not fit each other, or not the run in the folder.
        Diverged: something is not finite.

    >>> import jsnn
    >>> from jsnn.train import energy_terms, fit, make_optimiser
    >>> from jsnn.train.losses import CrossEntropy
    >>> digits, encoder = jsnn.data.load("digits"), jsnn.data.Direct(steps=2)
    >>> model = jsnn.models.MLP((8,), 10, input_kind=encoder.input_kind)
    >>> machine = jsnn.hardware.get("neuromorphic-22nm")
    >>> objective = jsnn.train.Objective(CrossEntropy(), machine, energy_terms(0.1))
    >>> run = fit(
    ...     model, objective, make_optimiser(1e-2, steps=20), encoder,
    ...     (digits.train.frames, digits.train.labels),
    ...     (digits.validation.frames, digits.validation.labels), epochs=1, batch=64,
    ... )
    >>> run.best.epoch, len(run.rows)
    (1, 1)
    """
    program = compile_program(
        model, objective, optimiser, encoder, train, validation, batch=batch, **options
    )
    start, how = program.start(seed), {"seed": seed, "select": select}
    if folder is None:
        return fit_program(program, start, epochs, **how, callbacks=callbacks)
    identity = _identity(program, options.get("augmented"))
    with _opened(folder, {"epochs": epochs, "batch": batch, **how, **identity}) as place:
        with Saving(place) as saving:
            resumed = saving.resumed(program, start)
            place.change_epochs(epochs, 0 if resumed is None else len(resumed.rows))
            callbacks = (*callbacks, saving)
            return fit_program(program, start, epochs, **how, callbacks=callbacks, resumed=resumed)


def _opened(path: str | Path, config: Mapping[str, Any]) -> RunFolder:
    """The folder of a new run, or of the one that is there, locked."""
    if not (Path(path) / "config.json").exists():
        return RunFolder.create(path, config=config)
    folder = RunFolder.existing(path)
    folder.lock()
    try:
        folder.stored_config(config, free=("epochs",))
        check_config(folder, Checkpoints(folder.checkpoints), config["epochs"])
    except ValueError:
        folder.release()
        raise
    return folder


def _identity(program: Program, augmented: Encoder | None) -> dict[str, str]:
    """Digests of what a run is, as far as it can be told: functions count by their names."""
    parts = {
        "model": program.model,
        "objective": program.objective,
        "encoder": (program.encoder, augmented),
        "data": [
            array_digest(leaf) for leaf in jax.tree.leaves((program.train, program.validation))
        ],
    }
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        # Without addresses in memory, which differ from process to process.
        texts = {name: re.sub(r" at 0x[0-9a-f]+", "", repr(part)) for name, part in parts.items()}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in texts.items()}


def fit_program(
    program: Program,
    start: Start,
    epochs: int,
    *,
    seed: int = 0,
    select: str = "best",
    callbacks: Sequence[Callback] = (),
    resumed: Fitted | None = None,
) -> Fitted:
    """Train from the start, or from where a run stopped, to the end of the last epoch.

    Which samples make a step depends on seed and epoch alone, and random numbers on the state: a
    run that is continued is the run that never stopped, bit for bit.

    Args:
        program: compiled once for many runs.
        start: of this run; its arrays are donated.
        epochs: to have in the end.
        seed: of the run.
        select: `best` on validation, or `last`.
        callbacks: called in their order.
        resumed: the run as it was saved after an epoch.

    Raises:
        ValueError: unknown word, no epoch, callbacks of another kind.
        Diverged: something is not finite; the state of the epoch before is lost unless a callback
            saved it.
    """
    epochs = whole_number("epochs", epochs, 1, 10**9)
    if select not in SELECT:
        raise ValueError(f"select must be one of {', '.join(SELECT)}, got {select!r}")
    if strangers := [each for each in callbacks if not isinstance(each, Callback)]:
        raise ValueError(
            f"callbacks must be objects of jsnn.train.Callback, got {strangers[0]!r}: make a class "
            "of it with the method epoch(run)"
        )
    run = resumed or Fitted(program, start, start.state, Best(start.state), [])
    for callback in callbacks:
        callback.begin(run, epochs)
    began = time.perf_counter()

    def stepped(count: int) -> None:
        for callback in callbacks:
            callback.steps(count)

    for epoch in range(len(run.rows) + 1, epochs + 1):
        order = draw_order(seed, epoch, program.samples, program.batch)
        state, terms = program.epoch(run.state, order, stepped)
        _refuse_steps(terms, (epoch - 1) * program.epoch_steps)
        row = {"epoch": epoch, **training_figures(terms, start.first)}
        score, task = -np.inf, np.inf
        if program.validation is not None:
            sums = _evaluated(program, state, seed, epoch)
            row |= validation_figures(sums, start.first)
            score, task = score_of(program.objective, sums, start.numbers), row["validation_task"]
        row["seconds"] = round(time.perf_counter() - began, 3)
        best = run.best
        last = select == "last" or program.validation is None
        if last or (score, -task) > (best.score, -best.task):
            # The step donates its state, so the best one needs buffers of its own.
            copied = jax.tree.map(lambda leaf: leaf.copy(), state)
            best = Best(copied, score, task, epoch)
        run = Fitted(program, start, state, best, [*run.rows, row])
        for callback in callbacks:
            callback.epoch(run)
    return run


def draw_order(seed: int, epoch: int, samples: int, batch: int) -> np.ndarray:
    """The samples of each step of an epoch, `[steps, batch]`.

    >>> draw_order(0, 1, samples=5, batch=2).shape
    (2, 2)
    """
    steps = samples // batch
    order = np.random.default_rng((seed, epoch)).permutation(samples)
    return order[: steps * batch].reshape(steps, batch)


def score_of(objective: Objective, sums: Mapping[str, Any], numbers: Mapping[str, Any]) -> float:
    """Score that an epoch is chosen by: the loss, with the accuracy in place of its task term.

    accuracy - sum of `Term.score`, or the negative task loss where no accuracy is measured. Of the
    terms here the energy and a budget take something off.

    Args:
        objective: of the run.
        sums: over the validation set.
        numbers: of the terms.
    """
    gain = sums["accuracy"] if "accuracy" in sums else -sums["task"]
    penalties = (term.score(sums, numbers[term.name]) for term in objective.terms)
    return float(gain / sums["samples"]) - sum(penalties)


def training_figures(terms: Sequence[Mapping[str, Any]], first: EnergyBreakdown) -> dict[str, Any]:
    """Means over the steps of an epoch, of what is reported as one number."""
    names = [name for name, value in terms[0].items() if not np.ndim(value) and name != "finite"]
    by_name = {name: float(np.mean([term[name] for term in terms])) for name in names}
    pj = by_name.pop("total_pj")
    return {
        **{f"train_{name}": value for name, value in by_name.items()},
        # Relative to initialisation, also where no term is.
        "train_energy": pj / float(first.total_pj().mean()),
        "train_pj": pj,
    }


def validation_figures(sums: Mapping[str, Any], first: EnergyBreakdown) -> dict[str, Any]:
    """Figures of an epoch on the validation set, as JSON."""
    measured = means(sums, first)
    return {
        "validation_task": float(sums["task"] / sums["samples"]),
        **{f"validation_{name}": measured[name] for name in sums if name not in RESERVED},
        "validation_pj": measured["total_pj"],
        "validation_spike_independent_pj": measured["spike_independent_pj"],
        "spikes": measured["spikes"],
    }


def _evaluated(program: Program, state: TrainState, seed: int, epoch: int) -> dict[str, Any]:
    try:
        sums = program.evaluate(state.variables, program.validation, seed)
    except FloatingPointError as error:
        raise Diverged(f"epoch {epoch}: {error}") from error
    figures = {"task": sums["task"], "pj": sums["parts_pj"].sum()}
    if named := [name for name, value in figures.items() if not np.isfinite(value)]:
        raise Diverged(f"epoch {epoch}: {' and '.join(named)} of the validation set is not finite")
    return sums


def _refuse_steps(terms: Sequence[Mapping[str, Any]], before: int) -> None:
    for number, term in enumerate(terms, before + 1):
        if not term["finite"]:
            names = ("task", "total_pj", "energy", "dead_neurons")
            named = [name for name in names if not np.isfinite(term.get(name, 0.0))]
            raise Diverged(f"step {number}: {' and '.join(named) or 'the gradient'} is not finite")

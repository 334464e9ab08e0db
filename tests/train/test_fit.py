"""The training loop: by hand, continued, under every loop, and with figures of one's own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsnn.data import Direct
from jsnn.hardware import get
from jsnn.models import MLP
from jsnn.neurons import LIF
from jsnn.train import (
    Callback,
    Diverged,
    Objective,
    compile_program,
    energy_terms,
    fit,
    fit_program,
    init_state,
    make_epoch,
    make_optimiser,
    start_terms,
)
from jsnn.train.losses import ConfusionMatrix, CrossEntropy, MeanSquaredError, accuracy

MACHINE = get("neuromorphic-22nm")
MODEL, ENCODER = MLP((8,), 3, neuron=LIF(tau_mem=2e-3), dropout=0.2), Direct(3)
OBJECTIVE = Objective(CrossEntropy(), MACHINE, energy_terms(0.5))
OPTIMISER = make_optimiser(2e-2, 40, schedule="constant")
DRAW = np.random.default_rng(0)
TRAIN = DRAW.random((14, 6)).astype(np.float32), (np.arange(14) % 3).astype(np.int32)
VALIDATION = DRAW.random((7, 6)).astype(np.float32), (np.arange(7) % 3).astype(np.int32)
PARTS = MODEL, OBJECTIVE, OPTIMISER, ENCODER


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def timeless(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


class Seen(Callback):
    def __init__(self):
        self.runs, self.counts = [], []

    def steps(self, count):
        self.counts.append(count)

    def epoch(self, run):
        kept = jax.device_get((run.state, run.best.state))
        state, best = jax.tree.map(np.array, kept)
        self.runs.append(run._replace(state=state, best=run.best._replace(state=best)))


@pytest.fixture(scope="module")
def seen():
    callback = Seen()
    run = fit(*PARTS, TRAIN, VALIDATION, epochs=4, batch=4, seed=3, callbacks=(callback,))
    return run, callback


def test_it_is_the_loop_by_hand(seen):
    run, callback = seen
    state = init_state(MODEL, OPTIMISER, ENCODER(jax.random.key(0), TRAIN[0][:1]), seed=3)
    first = jax.random.permutation(jax.random.key(3), 14)
    state, before = start_terms(state, *PARTS[:2], ENCODER, TRAIN[0][np.asarray(first)])
    epoch, data = make_epoch(*PARTS), jax.device_put(TRAIN)
    for number in range(1, 5):
        order = np.random.default_rng((3, number)).permutation(14)[:12].reshape(3, 4)
        state, terms = epoch(state, data, order)
        row = run.rows[number - 1]
        assert row["train_task"] == pytest.approx(float(terms["task"].mean()), rel=1e-6)
        assert row["train_energy"] == pytest.approx(
            float(terms["total_pj"].mean() / before.total_pj().mean()), rel=1e-6
        )
    equal(jax.device_get(state.params), jax.device_get(run.state.params))
    assert callback.counts == [3] * 4 and [len(one.rows) for one in callback.runs] == [1, 2, 3, 4]


def test_the_best_epoch_is_that_of_the_best_score(seen):
    run, callback = seen
    weight, initial = 0.5, run.start.initial_pj
    scores = [
        row["validation_accuracy"] - weight * row["validation_pj"] / initial for row in run.rows
    ]
    best = max(range(4), key=lambda n: (scores[n], -run.rows[n]["validation_task"]))
    assert run.best.epoch == best + 1
    assert run.best.score == pytest.approx(scores[best], rel=1e-6)
    equal(jax.device_get(run.best.state.params), callback.runs[best].state.params)


@pytest.mark.parametrize("after", [1, 3])
def test_a_run_that_is_continued_is_the_run_that_never_stopped(after, seen):
    run, callback = seen
    program = compile_program(*PARTS, TRAIN, VALIDATION, batch=4)
    stopped = jax.tree.map(jnp.asarray, callback.runs[after - 1].state)
    saved = callback.runs[after - 1]._replace(state=stopped)
    again = fit_program(program, program.start(3), 4, seed=3, resumed=saved)
    assert timeless(again.rows) == timeless(run.rows)
    assert again.best[1:] == run.best[1:]
    equal(jax.device_get(again.state.params), jax.device_get(run.state.params))


@pytest.mark.parametrize("loop", ["step", "host"])
def test_every_loop_trains_the_same_network(loop, seen):
    callback = Seen()
    run = fit(
        *PARTS, TRAIN, VALIDATION, epochs=4, batch=4, seed=3, loop=loop, callbacks=(callback,)
    )
    equal(jax.device_get(run.state.params), jax.device_get(seen[0].state.params))
    assert callback.counts == [1] * 12


def test_one_program_serves_runs_that_differ_in_seed_and_weight(compilations):
    program = compile_program(*PARTS, TRAIN, VALIDATION, batch=4)
    ends = {}
    with compilations() as compiled:
        for weight in (0.0, 4.0):
            start = program.start(0, energy_terms(weight))
            ends[weight] = fit_program(program, start, 3, select="last").rows[-1]["train_pj"]
    assert ends[4.0] < ends[0.0]
    assert compiled.count("epoch") == 1


def test_a_regression_with_a_loss_of_ones_own():
    def loss(outputs, labels):
        return MeanSquaredError()(outputs, labels)

    targets = TRAIN[0].mean(1, keepdims=True).repeat(3, 1)
    objective = Objective(loss, MACHINE)
    run = fit(
        MODEL, objective, OPTIMISER, ENCODER, (TRAIN[0], targets), (TRAIN[0], targets),
        epochs=12, batch=7,
    )  # fmt: skip
    assert "validation_accuracy" not in run.rows[0]
    losses = [row["validation_task"] for row in run.rows]
    assert run.best.epoch == 1 + int(np.argmin(losses)) and min(losses) < 0.5 * losses[0]


def test_metrics_stand_in_the_rows_and_without_validation_the_last_epoch_is_taken():
    objective = dataclasses.replace(OBJECTIVE, metrics=(accuracy, ConfusionMatrix()))
    run = fit(MODEL, objective, *PARTS[2:], TRAIN, VALIDATION, epochs=1, batch=4)
    matrix = np.array(run.rows[0]["validation_confusion_matrix"])
    assert np.trace(matrix) == pytest.approx(run.rows[0]["validation_accuracy"])
    assert matrix.sum() == pytest.approx(1.0)
    run = fit(*PARTS, TRAIN, epochs=2, batch=4)
    assert run.best.epoch == 2 and "validation_task" not in run.rows[0]


def test_what_is_not_finite_is_named():
    spoilt = TRAIN[0].copy()
    spoilt[5] = np.nan
    program = compile_program(*PARTS, TRAIN, (spoilt[:7], TRAIN[1][:7]), batch=4)
    with pytest.raises(Diverged, match="epoch 1: "):
        fit_program(program, program.start(0), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 15}, "batch must lie in 1 to 14, the training samples, got 15"),
        ({"batch": 0}, "batch must lie in 1 to 14"),
        ({"batch": 2.5}, "expected batch to be a whole number"),
        ({"epochs": 0}, "expected epochs to be a whole number"),
        ({"epochs": 2.5}, "expected epochs to be a whole number"),
        ({"seed": "a"}, "expected seed to be a whole number"),
        ({"train": TRAIN[0]}, r"train must be a pair, .*split\.frames, split\.labels"),
        ({"train": (TRAIN[0], [0] * 14)}, "labels of train must be an array, got list"),
        ({"validation": ([0] * 7, VALIDATION[1])}, "samples of validation must be an array"),
        ({"validation": (VALIDATION[0][:, :5], VALIDATION[1])}, r"one shape, got \[6\] and \[5\]"),
        ({"callbacks": (print,)}, "callbacks must be objects of jsnn.train.Callback"),
        ({"select": "first"}, "select must be one of best, last"),
        ({"train": (TRAIN[0], TRAIN[1][:-1])}, "14 samples and 13 labels"),
        ({"loop": "fast"}, "loop must be auto or one of"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    given = {"train": TRAIN, "validation": VALIDATION, "epochs": 1, "batch": 4, **arguments}
    with pytest.raises(ValueError, match=message):
        fit(*PARTS, **given)

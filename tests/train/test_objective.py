"""Losses by hand, the energy term, and the term against dead layers."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jsnn.energy import estimate_energy
from jsnn.hardware import get
from jsnn.neurons import LIF
from jsnn.nn import run
from jsnn.nn.layers import Spiking
from jsnn.surrogate import ATan
from jsnn.train.budget import Budget
from jsnn.train.losses import (
    TET,
    ConfusionMatrix,
    CrossEntropy,
    EveryStep,
    MeanSquaredError,
    accuracy,
    balanced_weights,
    recall_by_class,
)
from jsnn.train.objective import (
    Activity,
    DeadNeurons,
    Energy,
    Objective,
    RelativeTerm,
    Term,
    active_share,
    energy_terms,
)
from jsnn.train.regularisers import Hoyer, L1Rate
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

MACHINE = get("neuromorphic-22nm")


def numbers(weight, dead_neuron_weight=1.0, reference=1e4):
    """Of `energy_terms`, as arrays."""
    return {
        "energy": {"weight": jnp.float32(weight), "reference": jnp.float32(reference)},
        "dead_neurons": {"weight": jnp.float32(weight * dead_neuron_weight)},
    }


def nll(logits, label):
    return np.log(np.exp(logits).sum()) - logits[label]


def test_losses_are_their_sums(key):
    outputs = np.asarray(jax.random.normal(key, (5, 3, 4)))
    labels = np.array([2, 0, 3])
    steps = np.array([[0, 1, 2, 3, 0], [1, 1, 1, 1, 1], [3, 2, 1, 0, 3]])
    np.testing.assert_allclose(
        CrossEntropy()(outputs[0], labels),
        [nll(outputs[0, b], labels[b]) for b in range(3)],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        EveryStep()(outputs, steps),
        [np.mean([nll(outputs[t, b], steps[b, t]) for t in range(5)]) for b in range(3)],
        rtol=1e-5,
    )
    by_hand = [
        0.9 * np.mean([nll(outputs[t, b], labels[b]) for t in range(5)])
        + 0.1 * np.mean((outputs[:, b] - 1) ** 2)
        for b in range(3)
    ]
    np.testing.assert_allclose(TET(lamb=0.1)(outputs, labels), by_hand, rtol=1e-5)


def test_accuracy_of_windows_steps_and_means():
    outputs = jnp.array([[[0.0, 1.0]], [[3.0, 0.0]], [[0.0, 1.0]]])
    assert accuracy(outputs[0], jnp.array([1])).tolist() == [1.0]
    np.testing.assert_allclose(accuracy(outputs, jnp.array([[1, 1, 1]])), [2 / 3])
    assert accuracy(outputs, jnp.array([0])).tolist() == [1.0]


def test_true_derivatives(key):
    with jax.enable_x64(True):
        outputs = jax.random.normal(key, (3, 2, 4), jnp.float64)
        labels = jnp.array([1, 3])
        weighed = CrossEntropy(class_weights=(1, 2, 0.5, 3), label_smoothing=0.2)
        for loss in (CrossEntropy(), weighed):
            check_grads(jax.jit(lambda o, loss=loss: loss(o[0], labels)), (outputs,), order=2)
        check_grads(jax.jit(lambda o: TET()(o, labels)), (outputs,), order=2)
        targets = jax.random.normal(key, (2, 3, 4), jnp.float64)
        check_grads(jax.jit(lambda o: MeanSquaredError()(o, targets)), (outputs,), order=2)


def silent_network():
    """A layer whose neurons all sit far below threshold, and its workload as a function."""
    layer = Spiking(
        nn.Dense(6, kernel_init=nn.initializers.constant(-0.3)),
        LIF(tau_mem=2e-3, surrogate=ATan()),
        input_kind="events",
    )
    frames = jnp.ones((4, 2, 5))
    variables = jax.jit(layer.init)(jax.random.key(0), frames)
    return variables, lambda v: run(layer, v, frames)[1]


def test_living_is_half_at_half_and_pulls_a_silent_layer_up():
    workload = Workload((dense(8, 4, steps=5, rate=0.1, rate_out=0.04),))
    np.testing.assert_allclose(active_share(workload), [0.5], rtol=1e-6)
    variables, workload_of = silent_network()
    assert float(active_share(workload_of(variables))[0]) == 0
    grads = jax.grad(lambda v: active_share(workload_of(v)).sum())(variables)
    assert float(grads["params"]["synapse"]["bias"].min()) > 0


def test_objective_adds_its_terms():
    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.0),))
    objective = Objective(CrossEntropy(), MACHINE, energy_terms(0.3, dead_neuron_weight=2.0))
    outputs, labels = jnp.zeros((1, 4)), jnp.array([1])
    loss, terms = objective(outputs, labels, workload, None, numbers(0.3, 2.0))
    relative = float(estimate_energy(workload, MACHINE).total_pj()[0]) / 1e4
    np.testing.assert_allclose(terms["energy"], relative, rtol=1e-6)
    np.testing.assert_allclose(terms["dead_neurons"], 1.0)
    np.testing.assert_allclose(loss, np.log(4) + 0.3 * (relative + 2.0), rtol=1e-6)
    alone, _ = objective(outputs, labels, workload, None, numbers(0.0))
    np.testing.assert_allclose(alone, np.log(4), rtol=1e-6)


def test_the_dead_neuron_penalty_is_zero_while_neurons_fire():
    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.2),))
    _, terms = Objective(CrossEntropy(), MACHINE, energy_terms(1.0))(
        jnp.zeros((1, 4)), jnp.array([1]), workload, None, numbers(1.0)
    )
    assert float(terms["dead_neurons"]) == 0


def test_the_energy_term_reaches_the_weights_of_every_layer(key):
    from jsnn.models import MLP

    model = MLP((12, 8), 3, neuron=LIF(tau_mem=2e-3))
    frames = jnp.broadcast_to(jax.random.uniform(key, (2, 6)), (4, 2, 6))
    variables = jax.jit(model.init)(key, frames)

    def energy(params):
        _, workload = run(model, {**variables, "params": params}, frames)
        return estimate_energy(workload, MACHINE).total_pj().mean()

    grads = jax.jit(jax.grad(energy))(variables["params"])
    for name in ("hidden_0", "hidden_1"):
        assert float(jnp.abs(grads[name]["synapse"]["kernel"]).max()) > 0
    assert float(jnp.abs(grads["readout"]["synapse"]["kernel"]).max()) == 0


def test_the_weight_ramps_up_linearly():
    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.2),))
    objective = Objective(CrossEntropy(), MACHINE, energy_terms(0.4, ramp_steps=10))
    loss = {
        step: float(
            objective(jnp.zeros((1, 4)), jnp.array([1]), workload, None, numbers(0.4), step)[0]
        )
        for step in (0, 5, 10, 99, None)
    }
    np.testing.assert_allclose(loss[0], np.log(4), rtol=1e-6)
    np.testing.assert_allclose(loss[5], (loss[0] + loss[10]) / 2, rtol=1e-6)
    assert loss[10] == loss[99] == loss[None]


class Nameless(Term):
    def __call__(self, batch, numbers, step):
        return 0.0, {}


def test_bad_arguments_are_refused():
    for arguments, message in (
        ({"loss": "tet"}, "loss must be a function .*'tet'; .*LOSSES"),
        ({"terms": (L1Rate(),)}, r"must be of jsnn.*weighed by Activity"),
        ({"terms": Energy()}, r"terms must be a tuple of terms, .*give \(term,\)"),
        ({"terms": (Nameless(),)}, "needs an attribute name"),
        ({"terms": (Energy(), Energy(weight=2.0))}, "terms need different names, got energy"),
        ({"metrics": (accuracy, accuracy)}, "metrics need different names"),
        ({"metrics": (lambda outputs, labels: outputs,)}, "a metric needs a name"),
    ):
        with pytest.raises(ValueError, match=message):
            Objective(**{"loss": TET(), "hardware": MACHINE, **arguments})
    with pytest.raises(ValueError, match="least_active_share"):
        DeadNeurons(least_active_share=0)
    for loss, outputs, labels in (
        (CrossEntropy(), jnp.zeros((2, 3, 4)), jnp.zeros(3, int)),
        (EveryStep(), jnp.zeros((2, 3, 4)), jnp.zeros((2, 3), int)),
        (TET(), jnp.zeros((3, 4)), jnp.zeros(3, int)),
    ):
        with pytest.raises(ValueError, match="check the readout"):
            loss(outputs, labels)


# ---- losses, metrics and terms of one's own ------------------------------------------------------


def test_weights_and_smoothing_by_hand(key):
    outputs, labels = np.asarray(jax.random.normal(key, (5, 4))), np.array([2, 0, 3, 3, 1])
    weights, smoothing = (1.0, 0.5, 2.0, 3.0), 0.2
    by_hand = [
        weights[y]
        * ((1 - smoothing) * nll(o, y) + smoothing * np.mean([nll(o, c) for c in range(4)]))
        for o, y in zip(outputs, labels, strict=True)
    ]
    loss = CrossEntropy(class_weights=weights, label_smoothing=smoothing)
    np.testing.assert_allclose(loss(outputs, labels), by_hand, rtol=1e-5)
    # One step is a window, and TET without its second part is the cross entropy of every step.
    several = TET(class_weights=weights, label_smoothing=smoothing, lamb=0.0)
    np.testing.assert_allclose(several(outputs[None], labels), by_hand, rtol=1e-5)
    every = EveryStep(class_weights=weights, label_smoothing=smoothing)
    np.testing.assert_allclose(every(outputs[None], labels[:, None]), by_hand, rtol=1e-5)


@pytest.mark.parametrize("kind", [CrossEntropy, EveryStep, TET])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_weights": (1.0, -1.0)}, "finite and not negative"),
        ({"class_weights": (1.0, float("nan"))}, "finite and not negative"),
        ({"class_weights": ()}, "finite and not negative"),
        ({"label_smoothing": 1.0}, r"label_smoothing must lie in \[0, 1\)"),
        ({"label_smoothing": -0.1}, "label_smoothing must lie in"),
    ],
)
def test_weights_and_smoothing_are_checked(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_classes_without_a_weight_and_real_labels_are_refused():
    with pytest.raises(ValueError, match="class_weights has 2 weights and the network 4 classes"):
        CrossEntropy(class_weights=(1, 2))(jnp.zeros((1, 4)), jnp.array([1]))
    with pytest.raises(ValueError, match=r"integers from 0 up, got float32.*MeanSquaredError"):
        CrossEntropy()(jnp.zeros((1, 4)), jnp.array([1.0]))


def test_every_class_counts_alike_under_balanced_weights():
    labels = np.array([0] * 7 + [1] * 2 + [2])
    weights = np.asarray(balanced_weights(labels, 3))
    np.testing.assert_allclose(np.bincount(labels, weights[labels]), 10 / 3)
    with pytest.raises(ValueError, match=r"every class from 0 to 3, found \[7, 2, 1, 0\]"):
        balanced_weights(labels, 4)
    for wrong in (labels - 1, labels.astype(float)):
        with pytest.raises(ValueError, match="labels must be classes, integers from 0 up"):
            balanced_weights(wrong, 3)


def test_confusion_and_recall_by_hand():
    answers, labels = np.array([0, 1, 1, 2, 0]), np.array([0, 1, 0, 2, 2])
    matrix = ConfusionMatrix()(jnp.eye(4)[answers], jnp.asarray(labels)).sum(0)
    by_hand = np.zeros((4, 4))
    for label, answer in zip(labels, answers, strict=True):
        by_hand[label, answer] += 1
    np.testing.assert_array_equal(matrix, by_hand)
    np.testing.assert_array_equal(recall_by_class(matrix), [0.5, 1.0, 0.5, np.nan])
    steps = ConfusionMatrix()(jnp.eye(4)[answers][:, None], jnp.asarray(labels)[None])
    np.testing.assert_allclose(steps[0], by_hand / 5, rtol=1e-6)


def test_squared_errors_by_hand(key):
    outputs = np.asarray(jax.random.normal(key, (5, 3, 2)))
    targets = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (3, 5, 2)))
    squares = (outputs - targets.swapaxes(0, 1)) ** 2
    np.testing.assert_allclose(
        MeanSquaredError()(outputs, targets), squares.mean((0, 2)), rtol=1e-5
    )
    np.testing.assert_allclose(
        MeanSquaredError()(outputs[0, :, :1], targets[:, 0, 0]), squares[0, :, 0], rtol=1e-5
    )
    with pytest.raises(ValueError, match="check the readout"):
        MeanSquaredError()(outputs[0], targets[:, 0, :1])


class Answers(Term):
    """A term of a user's own: the mean square of the outputs."""

    name = "answers"

    def __call__(self, batch, numbers, step):
        """Half of it."""
        square = jnp.square(batch.outputs).mean()
        return 0.5 * square, {"square": square}


def test_a_loss_and_a_term_of_ones_own(key):
    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.2),))
    outputs = jax.random.normal(key, (1, 4))
    targets = jnp.arange(4.0)[None]

    def loss(outputs, labels):
        return jnp.abs(outputs - labels).sum(-1)

    objective = Objective(loss, MACHINE, (Answers(),))
    assert objective.metrics == ()
    value, terms = objective(outputs, targets, workload, None, {"answers": {}})
    by_hand = np.abs(outputs - targets).sum() + 0.5 * np.mean(np.square(outputs))
    np.testing.assert_allclose(value, by_hand, rtol=1e-6)
    assert set(terms) == {"task", "total_pj", "square", "loss"}
    whole = Objective(lambda outputs, labels: loss(outputs, labels).mean(), MACHINE)
    with pytest.raises(ValueError, match=r"loss must give one value a sample, \[B\] with B = 1"):
        whole(outputs, targets, workload)
    message = r"numbers of the terms \['answers'\], found \[\]; .*start_terms"
    with pytest.raises(ValueError, match=message):
        objective(outputs, targets, workload)


@dataclasses.dataclass(frozen=True)
class Reporting(Term):
    """A term that reports one figure, and adds a penalty of a shape."""

    figure: str
    shape: tuple[int, ...] = ()
    name = "reporting"

    def __call__(self, batch, numbers, step):
        return jnp.zeros(self.shape), {self.figure: jnp.float32(1.0)}


@pytest.mark.parametrize(
    "figure", ["task", "total_pj", "loss", "finite", "spike_rates", "accuracy", "dead_neurons"]
)
def test_no_figure_takes_the_name_of_another(figure):
    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.2),))
    given = jnp.zeros((1, 4)), jnp.array([1]), workload, None
    terms = (DeadNeurons(), Reporting(figure))
    objective = Objective(CrossEntropy(), MACHINE, terms)
    of_terms = {"dead_neurons": {"weight": 1.0}, "reporting": {}}
    with pytest.raises(ValueError, match=f"'reporting' reports '{figure}', which is reported"):
        objective(*given, of_terms)

    def metric(outputs, labels):
        return accuracy(outputs, labels)

    metric.name = figure
    if figure in ("accuracy", "dead_neurons"):
        return
    with pytest.raises(ValueError, match=f"the metric '{figure}' reports"):
        Objective(CrossEntropy(), MACHINE, metrics=(metric,))(*given)


def test_a_term_adds_one_number():
    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.2),))
    objective = Objective(CrossEntropy(), MACHINE, (Reporting("mine", (1,)),))
    with pytest.raises(ValueError, match=r"'reporting' must add one number .* shape \[1\]"):
        objective(jnp.zeros((1, 4)), jnp.array([1]), workload, None, {"reporting": {}})


def test_two_regularisers_weigh_side_by_side():
    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.2),))
    terms = (Activity(L1Rate(), weight=0.1), Activity(Hoyer(), "hoyer", weight=0.2))
    objective = Objective(CrossEntropy(), MACHINE, terms)
    unit = {"reference": jnp.float32(0.5)}
    of_terms = {"activity": unit | {"weight": 0.1}, "hoyer": unit | {"weight": 0.2}}
    loss, reported = objective(jnp.zeros((1, 4)), jnp.array([1]), workload, None, of_terms)
    both = 0.1 * L1Rate()(workload) / 0.5 + 0.2 * Hoyer()(workload) / 0.5
    np.testing.assert_allclose(loss - reported["task"], both, rtol=1e-5)
    assert {"activity", "hoyer"} <= set(reported)


def test_a_batch_is_priced_once(monkeypatch):
    from jsnn.train import objective as module

    calls, priced = [], module.estimate_layers
    monkeypatch.setattr(module, "estimate_layers", lambda *a: calls.append(a) or priced(*a))
    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.2),))
    terms = (*energy_terms(0.3), Activity(L1Rate()), Budget(latency_s=1.0, energy_pj="1uJ"))
    machine = get("spatial-45nm")
    objective = Objective(CrossEntropy(), machine, terms)
    given = numbers(0.3) | {
        "activity": {"weight": 1.0, "reference": 0.1},
        "budget": terms[-1].numbers({"latency_s": 2.0, "energy_pj": 1e7}),
    }
    objective(jnp.zeros((1, 4)), jnp.array([1]), workload, None, given)
    assert len(calls) == 1


@pytest.mark.parametrize("kind", [Energy, DeadNeurons, lambda **given: Activity(L1Rate(), **given)])
@pytest.mark.parametrize("name", ["weight", "ramp_steps"])
@pytest.mark.parametrize("number", [-1.0, np.nan, np.inf])
def test_numbers_of_a_term_are_finite_and_not_negative(kind, name, number):
    with pytest.raises(ValueError, match=f"{name} must not be negative"):
        kind(**{name: number})


def test_a_relative_term_starts_at_its_weight():
    class Constant(RelativeTerm):
        name = "constant"

        def value(self, batch):
            return jnp.float32(7.0)

    workload = Workload((dense(64, 32, steps=5, rate=0.1, rate_out=0.2),))
    term = Constant(weight=0.25)
    started = term.start(None)
    objective = Objective(CrossEntropy(), MACHINE, (term,))
    _, terms = objective(jnp.zeros((1, 4)), jnp.array([1]), workload, None, {"constant": started})
    assert float(terms["constant"]) == 1.0
    np.testing.assert_allclose(terms["loss"] - terms["task"], 0.25, rtol=1e-6)

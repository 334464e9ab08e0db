"""Train state, train step and evaluation; the loop itself belongs to the experiment."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jsnn.energy import Bill, dataflow, op_count_proxy
from jsnn.hardware.checks import check_number, whole_number
from jsnn.hardware.trees import is_concrete
from jsnn.levers import LEVERS, NETWORK, Pairs, price
from jsnn.objectives import TASKS, Objective, accuracy
from jsnn.run import Forward, forward
from jsnn.timeplan import WHOLE, TimePlan
from jsnn.twin import twin
from jsnn.workload import require_finite

Encoder = Callable[[jax.Array, jax.Array], jax.Array]

LABELS = ("weights", "norm", "time_constants", "frequencies", "thresholds", "neuron")

# Leaves of neurons by the start of their name; the rest is labelled `neuron`.
_NEURON_LABELS = {
    "tau": "time_constants",
    "omega": "frequencies",
    "b_offset": "frequencies",
    "v_threshold": "thresholds",
}
# What a PLIF trains in place of a time constant.
_LEAK = "w"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything a run needs to go on as if it had never stopped.

    Attributes:
        step: optimiser steps done, int32.
        params: trained leaves.
        collections: other variables of the model (`constants`, `batch_stats`).
        opt_state: of the optimiser.
        key: PRNG key data of the run; step keys are folded out of it, so it never changes.
        reference_pj: bill at initialisation, the unit of the energy term.
        goal: numbers of this run that its compiled step is given (see `jsnn.objectives.Objective`);
            None: those of the objective.
    """

    step: jax.Array
    params: Any
    collections: Mapping[str, Any]
    opt_state: Any
    key: jax.Array
    reference_pj: jax.Array
    goal: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, **self.collections}


def label_params(params: Any) -> Any:
    """Label every leaf with one of `LABELS`.

    `weights` are kernels, biases and recurrent weights. What is trained of a neuron's constants
    (`neuron.trainable`) is one of `time_constants`, `frequencies` (of resonators), `thresholds` and
    `neuron`, the rest; all of them relative to the values as built (`jsnn.neurons.trained`). The
    leaves of a lever (`jsnn.levers`) are labelled `lever.` and its name, those of the network it
    moves as ever.

    The labels are what `make_optimiser` gives learning rates to.

    >>> label_params({"layers_0": {"synapse": {"kernel": 1.0}, "neuron": {"tau_mem": 0.0}}})
    {'layers_0': {'neuron': {'tau_mem': 'time_constants'}, 'synapse': {'kernel': 'weights'}}}
    """

    def label(path, _):
        names = [entry.key for entry in path if hasattr(entry, "key")]
        if levered and names[0] == LEVERS:
            return f"lever.{names[1]}"
        if "neuron" not in names:
            norm = any(name == "norm" or name.startswith("BatchNorm") for name in names)
            return "norm" if norm else "weights"
        return label_leaf(names[-1])

    levered = set(params) == {NETWORK, LEVERS}
    return jax.tree_util.tree_map_with_path(label, params)


def label_leaf(name: str) -> str:
    """The label of a leaf of a neuron.

    >>> label_leaf("tau_adp"), label_leaf("r")
    ('time_constants', 'neuron')
    """
    if name == _LEAK:
        return "time_constants"
    fitting = (label for start, label in _NEURON_LABELS.items() if name.startswith(start))
    return next(fitting, "neuron")


def make_optimiser(
    learning_rate: float,
    steps: int,
    *,
    warmup: int = 0,
    schedule: str = "cosine",
    weight_decay: float = 0.0,
    clip: float = 1.0,
    scales: Mapping[str, float] | None = None,
    levers: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """AdamW with linear warm-up, cosine or linear decay to zero, global clipping, rates by label.

    Args:
        learning_rate: peak rate of the weights.
        steps: length of the schedule, in optimiser steps.
        warmup: steps of linear warm-up.
        schedule: `cosine`, `linear` or `constant`.
        weight_decay: of AdamW, on `weights` only.
        clip: global norm of the gradient.
        scales: factor on the learning rate for each label of `label_params`; 0 freezes, labels left
            out have 1. Constants of neurons are trained relative to what was built: a learning
            rate of 0.01 moves a time constant by about 1 % a step.
        levers: factor on the learning rate for each lever of the network, by name; 0 freezes.

    Raises:
        ValueError: unknown schedule or label, a schedule shorter than its warm-up, a number that is
            negative or not finite, a clip of 0; from `init`, a network with a lever that has no
            rate here.

    >>> optimiser = make_optimiser(1e-3, 100, warmup=10, scales={"time_constants": 0.1})
    """
    if not 0 <= warmup < steps:
        raise ValueError(
            f"warm-up must be shorter than the schedule, got {warmup} of {steps} steps"
        )
    rates = dict.fromkeys(LABELS, 1.0)
    unknown = set(scales or {}) - set(rates)
    if unknown:
        raise ValueError(f"unknown parameter labels {sorted(unknown)}; known are {sorted(rates)}")
    rates |= scales or {}
    rates |= {f"lever.{name}": factor for name, factor in (levers or {}).items()}
    numbers = {"learning_rate": learning_rate, "weight_decay": weight_decay, "clip": clip}
    for name, number in (numbers | {f"rate of {label}": rates[label] for label in rates}).items():
        check_number(name, number, 0)
    if clip == 0:
        raise ValueError("clip, the largest norm of the gradient, is 0: nothing would be trained")
    decays = {
        "cosine": optax.schedules.cosine_decay_schedule(learning_rate, steps - warmup),
        "linear": optax.schedules.linear_schedule(learning_rate, 0.0, steps - warmup),
        "constant": optax.schedules.constant_schedule(learning_rate),
    }
    if schedule not in decays:
        raise ValueError(f"schedule must be one of {sorted(decays)}, got {schedule!r}")
    rate = decays[schedule]
    if warmup:
        rising = optax.schedules.linear_schedule(0.0, learning_rate, warmup)
        rate = optax.schedules.join_schedules([rising, rate], [warmup])

    def of(label: str) -> optax.GradientTransformation:
        if not rates[label]:
            return optax.set_to_zero()
        decay = weight_decay if label == "weights" else 0.0
        return optax.chain(optax.adamw(rate, weight_decay=decay), optax.scale(rates[label]))

    def labels(params: Any) -> Any:
        found = label_params(params)
        if missing := sorted(set(jax.tree.leaves(found)) - set(rates)):
            levers = [label.removeprefix("lever.") for label in missing]
            raise ValueError(
                f"the network has levers without a learning rate: {levers}; give each a factor, as "
                f"make_optimiser(..., levers={{{levers[0]!r}: 1.0}}), 0 freezes"
            )
        return found

    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.partition({label: of(label) for label in rates}, labels),
    )


def init_state(
    model: nn.Module, optimiser: optax.GradientTransformation, frames: jax.Array, seed: int
) -> TrainState:
    """Initial state; `reference_pj` is NaN until `with_reference` has measured it.

    Args:
        model: the network.
        optimiser: from `make_optimiser` or any optax transformation.
        frames: `[T, B, ...]`, for shapes.
        seed: of the run.
    """
    key = jax.random.key(seed)
    variables = dict(jax.jit(model.init)(jax.random.fold_in(key, 0), frames))
    params = variables.pop("params")
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        collections=variables,
        opt_state=optimiser.init(params),
        key=jax.random.key_data(key),
        reference_pj=jnp.full((), jnp.nan, jnp.float32),
    )


def initial_bill(
    state: TrainState, model: nn.Module, objective: Objective, encoder: Encoder, frames
) -> Bill:
    """The bill of the network as it stands, in training mode, on samples `[B, ...]`.

    Raises:
        ValueError: frames that are not what a layer declares, or membranes that are not finite, by
            the name of the layer.
    """

    @jax.jit
    def measure(state, frames):
        workload = as_trained(state, model, encoder, frames, objective.unpriced).workload
        return objective.bill(workload, state.params), workload

    whole, workload = measure(state, frames)
    if not all(is_concrete(layer.arrivals) for layer in workload):
        return whole
    if not all(np.asarray(layer.finite).all() for layer in workload):
        # Outside of jit a layer says which value it was.
        as_trained(state, model, encoder, frames, objective.unpriced)
    require_finite(workload)
    return whole


def as_trained(
    state: TrainState,
    model: nn.Module,
    encoder: Encoder,
    frames: Any,
    unpriced: tuple[str, ...] = (),
) -> Forward:
    """A pass of samples `[B, ...]` as the next training step would make it.

    Args:
        state: before the step.
        model, encoder: of the run.
        frames: samples.
        unpriced: as for `jsnn.run`.
    """
    key = _step_key(state)
    options = {"train": True, "rngs": _streams(key), "unpriced": unpriced}
    return forward(model, state.variables, encoder(key, frames), **options)


def with_reference(state: TrainState, first: Bill) -> TrainState:
    """The state with a bill, its mean sample, as the unit of the energy term.

    Raises:
        ValueError: what is no bill, or (unless traced) none of a positive, finite energy.
    """
    if not isinstance(first, Bill):
        raise ValueError(
            f"expected a bill, as of initial_bill(state, model, objective, encoder, frames), found "
            f"{type(first).__name__}"
        )
    reference_pj = first.total_pj().mean().astype(jnp.float32)
    if is_concrete(reference_pj) and not 0 < float(reference_pj) < math.inf:
        raise ValueError(
            f"the energy of the bill is {float(reference_pj):g} pJ, which cannot be the unit of "
            "the energy term: expected a positive, finite one"
        )
    return dataclasses.replace(state, reference_pj=reference_pj)


def make_train_step(
    model: nn.Module,
    objective: Objective,
    optimiser: optax.GradientTransformation,
    encoder: Encoder,
    *,
    plan: TimePlan = WHOLE,
) -> Callable:
    """One jitted step: `(state, (frames, labels), index) -> (state, terms)`; the state is donated.

    `frames` `[N, ...]` and `labels` live on the device and are indexed inside the jit with `index`
    `[B]`; a set that does not fit is given batch by batch with `index = None`. The encoder turns a
    batch into `[T, B, ...]` with the key of the step. A step whose loss or gradient is not
    finite returns the state unchanged but for the count, so that the caller can stop with a good
    network in hand; `terms["finite"]` says so. `plan` is how the network goes over its window.

    Raises:
        ValueError: from the step, before anything is computed: a state without a reference, whose
            arrays were donated, or with the optimiser state of other parameters; labels that are
            no classes of the network, or fewer than samples; an index (NumPy) outside the set; an
            empty batch. A state that the step returned and labels seen last are not read again.
    """
    step = _step(model, objective, optimiser, encoder, plan)
    return _checked(step, step, optimiser)


def make_epoch(
    model: nn.Module,
    objective: Objective,
    optimiser: optax.GradientTransformation,
    encoder: Encoder,
    *,
    plan: TimePlan = WHOLE,
) -> Callable:
    """Many steps in one jitted call: `(state, (frames, labels), index [n, B]) -> (state, terms)`.

    `jax.lax.scan` of the step of `make_train_step` over the rows of `index`; every term gets a
    first axis of n. The same keys, so the same network as from n single steps, without n
    dispatches; the whole set must live on the device. A length n of its own is compiled anew.

    Raises:
        ValueError: as from a step of `make_train_step`.
    """
    step = _step(model, objective, optimiser, encoder, plan)

    def epoch(state: TrainState, data, index):
        return jax.lax.scan(lambda state, row: step(state, data, row), state, index)

    return _checked(epoch, step, optimiser)


def _checked(
    function: Callable, step: Callable, optimiser: optax.GradientTransformation
) -> Callable:
    """The function jitted, its state donated; what it is given is looked at first, outside the jit.

    A wrong label or reference makes every loss NaN, and a step that is not finite changes nothing.
    Inside another transformation there is nothing to look at; `lower`, `trace` and the like are
    those of the jitted function.

    Args:
        function: what to jit, of one step or of many.
        step: of `_step`, which it calls.
        optimiser: of the step.
    """
    jitted = jax.jit(function, donate_argnums=0)
    counter = labels_seen = None

    @functools.wraps(function)
    def checked(state: TrainState, data, index):
        nonlocal counter, labels_seen
        leaves = jax.tree.leaves((state, data, index))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return jitted(state, data, index)
        frames, labels = data
        # A state that this step returned last is good, and so are labels once read.
        if state.step is not counter:
            _check_state(state, optimiser)
        fresh = labels is not labels_seen
        if fresh:
            _check_labels(frames, labels)
        _check_index(index, len(labels))
        if fresh:
            if step.classes is None:
                # Notes the number of classes; the trace is kept for the call.
                jitted.trace(state, data, index)
            _check_classes(labels, step.classes)
        state, terms = jitted(state, data, index)
        counter, labels_seen = state.step, labels
        return state, terms

    for name in ("lower", "trace", "eval_shape", "clear_cache", "_cache_size"):
        setattr(checked, name, getattr(jitted, name))
    return checked


def _check_labels(frames: Any, labels: Any) -> None:
    if not len(labels):
        raise ValueError("the set is empty: it has no sample; give at least one, with its label")
    if len(frames) != len(labels):
        raise ValueError(
            f"{len(frames)} samples and {len(labels)} labels: give one label, or row of labels, "
            "for each sample"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be integers from 0 up, got {labels.dtype}{list(labels.shape)}; of a "
            "one-hot array take labels.argmax(-1)"
        )
    if (least := int(np.asarray(labels).min())) < 0:
        raise ValueError(
            f"labels must be classes from 0 up, got {least}: number the classes from 0, and leave "
            "samples without a class out"
        )


def _check_classes(labels: Any, classes: int) -> None:
    if (most := int(np.asarray(labels).max())) >= classes:
        raise ValueError(
            f"the network has {classes} classes, 0 to {classes - 1}, and a label is {most}: give "
            "the network as many outputs as there are classes, or number the classes from 0"
        )


def _check_index(index: Any, count: int) -> None:
    if index is None:
        return
    if not isinstance(index, np.ndarray | jax.Array) or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(
            "the index of a batch must be an array of integers, got "
            f"{getattr(index, 'dtype', type(index).__name__)}: np.asarray(index)"
        )
    if not np.size(index):
        raise ValueError("the batch is empty: its index names no sample")
    if isinstance(index, jax.Array):
        # To read it would make the host wait for the device.
        return
    least, most = np.min(index), np.max(index)
    if least < 0 or most >= count:
        raise ValueError(
            f"the index of a batch must lie in 0 to {count - 1}, the {count} samples of the set, "
            f"got {least} to {most}"
        )


def _check_state(state: TrainState, optimiser: optax.GradientTransformation) -> None:
    leaves = [leaf for leaf in jax.tree.leaves(state) if isinstance(leaf, jax.Array)]
    if any(leaf.is_deleted() for leaf in leaves):
        raise ValueError(
            "the arrays of this state were donated to a training step, which made the next state "
            "in their place: go on with the state that the step returned, or keep a copy "
            "(jax.tree.map(jnp.copy, state)) before it"
        )
    reference_pj = np.asarray(state.reference_pj)
    if not (np.isfinite(reference_pj).all() and (reference_pj > 0).all()):
        raise ValueError(
            f"reference_pj of the state is {reference_pj}, and no loss can be finite: measure it "
            "first, state = with_reference(state, initial_bill(state, model, objective, encoder, "
            "frames))"
        )
    expected = jax.eval_shape(optimiser.init, state.params)
    if _shapes(expected) != _shapes(state.opt_state):
        raise ValueError(
            "the optimiser state of this state belongs to other parameters or another optimiser: "
            "begin with init_state(model, optimiser, frames, seed), or opt_state="
            "optimiser.init(state.params)"
        )


def _shapes(tree: Any) -> tuple[Any, list]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]


def _step(model, objective, optimiser, encoder, plan) -> Callable:
    def step(state: TrainState, data, index):
        key = _step_key(state)
        samples, labels = data if index is None else (data[0][index], data[1][index])
        frames = encoder(key, samples)

        def loss(params):
            variables = {"params": params, **state.collections}
            passed = forward(
                model,
                variables,
                frames,
                train=True,
                rngs=_streams(key),
                plan=plan,
                unpriced=objective.unpriced,
            )
            value, terms = objective(
                passed.outputs,
                labels,
                passed.workload,
                state.reference_pj,
                state.step,
                params,
                state.goal,
            )
            step.classes = passed.outputs.shape[-1]
            rates = jnp.stack([layer.spike_rate.mean() for layer in passed.workload])
            return value, (terms | {"spike_rates": rates}, passed.updates)

        (value, (terms, updates)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        finite = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(grads))
        changes, opt_state = optimiser.update(grads, state.opt_state, state.params)
        new = dataclasses.replace(
            state,
            params=optax.apply_updates(state.params, changes),
            collections={**state.collections, **updates},
            opt_state=opt_state,
        )
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
        return dataclasses.replace(kept, step=state.step + 1), terms | {"finite": finite}

    step.classes = None
    return step


def make_eval_step(
    model: nn.Module, objective: Objective, encoder: Encoder, *, plan: TimePlan = WHOLE
) -> Callable:
    """One jitted evaluation batch: `(variables, frames, labels, weight, key) -> sums`.

    `weight` `[B]` is 1 for a sample and 0 for padding. Sums over the batch: `samples`, `task`,
    `accuracy`, `parts_pj` `[L, C]` of the bill, `floor_pj`, `twin_pj`, `op_count_pj`, `spikes` and
    `rates` `[L]` and, layer by layer, the spikes of each neuron over the batch (`ever`). The twin
    runs on the machine as it is before any lever. Under a constraint also `spent` and
    `spent_floor`, by what is limited: of the network, and of it silenced. By layer: `dataflows`
    (`jsnn.energy.Dataflow`; `switches` counts the samples with a finite switch rate), and
    `not_finite`, samples that could not be counted. `labels_beyond` counts the samples whose labels
    are no classes of the network.
    """

    def step(variables, samples, labels, weight, key):
        frames = encoder(key, samples)
        passed = forward(model, variables, frames, plan=plan, unpriced=objective.unpriced)
        workload, params = passed.workload, variables["params"]
        parts_pj = objective.bill(workload, params).parts_pj
        return {
            "samples": weight.sum(),
            "task": weight @ TASKS[objective.task](passed.outputs, labels),
            "accuracy": weight @ accuracy(passed.outputs, labels),
            "parts_pj": jnp.einsum("b,blc->lc", weight, parts_pj),
            "floor_pj": weight @ objective.bill(workload.silenced(), params).total_pj(),
            "twin_pj": weight @ twin(workload, objective.hardware).total_pj(),
            "op_count_pj": weight @ op_count_proxy(workload),
            "spikes": jnp.stack([weight @ layer.output_events for layer in workload]),
            "rates": jnp.stack([weight @ layer.spike_rate for layer in workload]),
            "ever": [jnp.einsum("b,b...->...", weight, layer.spikes) for layer in workload],
            "spent": _weighed(weight, objective.spent(workload, params)),
            "spent_floor": _weighed(weight, objective.spent(workload.silenced(), params)),
            "dataflows": _dataflows(
                weight, price(objective.levers, params, workload, objective.hardware)
            ),
            "not_finite": {l.geometry.name: weight @ jnp.logical_not(l.finite) for l in workload},
            "labels_beyond": weight @ _any_beyond(labels, passed.outputs.shape[-1]),
        }

    return jax.jit(step)


def evaluate(eval_step: Callable, variables: Any, data, batch: int, key: jax.Array) -> dict:
    """Sums of `eval_step` over a whole set, in float64 NumPy; the last batch is padded, not cut.

    Batches are cut outside the jit, so that one compilation serves sets of any size.

    Args:
        eval_step: from `make_eval_step`.
        variables: of the model.
        data: `(frames [N, ...], labels [N, ...])`, NumPy or on the device.
        batch: samples a step.
        key: for the encoder; the same key gives the same figures.

    Raises:
        ValueError: an empty set, samples and labels of unequal number, labels that are no classes,
            a batch that is no whole number of samples.
        FloatingPointError: samples that could not be counted, by the name of the layer; outputs
            that are not finite.
    """
    frames, labels = data
    _check_labels(frames, labels)
    batch = whole_number("batch", batch, 1, 10**9)
    total, count = None, len(frames)
    for number, start in enumerate(range(0, count, batch)):
        index = np.arange(start, start + batch)
        weight = (index < count).astype(np.float32)
        index = np.minimum(index, count - 1)
        step_key = jax.random.fold_in(key, number)
        sums = eval_step(variables, frames[index], labels[index], weight, step_key)
        sums = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.device_get(sums))
        _check_finite(sums)
        total = sums if total is None else jax.tree.map(np.add, total, sums)
    return total


def _any_beyond(labels: jax.Array, classes: int) -> jax.Array:
    return (labels >= classes).reshape(len(labels), -1).any(1)


def _check_finite(sums: Mapping[str, Any]) -> None:
    # Of several networks at once, each with sums of its own, whoever put them together looks.
    if np.any(sums.get("labels_beyond", 0) > 0):
        raise ValueError(
            f"labels of {int(np.max(sums['labels_beyond']))} samples of a batch are no classes of "
            "the network: give it as many outputs as there are classes, or number the classes from "
            "0"
        )
    bad = {n: s for n, s in sums.get("not_finite", {}).items() if not np.ndim(s) and s > 0}
    if bad:
        counts = ", ".join(f"{name} ({int(n)} samples)" for name, n in bad.items())
        raise FloatingPointError(
            f"what happened in the layers {counts} is no number: membranes or constants that are "
            "not finite (did the network diverge?), or frames that are not what the layer declares "
            "(jsnn.run outside of jit says which)"
        )
    for name in ("task", "accuracy"):
        if not np.ndim(sums.get(name, 0)) and not np.isfinite(sums.get(name, 0)):
            raise FloatingPointError(
                f"{name} is {sums[name]} over a batch: outputs of the network are not finite"
            )


def _dataflows(weight: jax.Array, pairs: Pairs) -> dict[str, dict[str, jax.Array]]:
    sums = {}
    for layer, hardware in pairs:
        if (flow := dataflow(layer, hardware)) is None:
            continue
        switches = jnp.isfinite(flow.switch_rate)
        sums[layer.geometry.name] = {
            "dense": weight @ flow.dense,
            "rate": weight @ flow.rate,
            "switch_rate": weight @ jnp.where(switches, flow.switch_rate, 0),
            "switches": weight @ switches,
        }
    return sums


def _weighed(weight: jax.Array, spent: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: weight @ each for name, each in spent.items()}


def _step_key(state: TrainState) -> jax.Array:
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step + 1)


def _streams(key: jax.Array) -> dict[str, jax.Array]:
    return {"dropout": jax.random.fold_in(key, 1), "state": jax.random.fold_in(key, 2)}

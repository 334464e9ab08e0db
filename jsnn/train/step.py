"""Training steps: one batch, or an epoch in one call."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jsnn.nn import forward
from jsnn.nn.time_plan import WHOLE, TimePlan
from jsnn.train.losses import takes_classes
from jsnn.train.objective import Objective
from jsnn.train.state import Encoder, TrainState, step_key, streams


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
    finite returns the state unchanged but for the count, so that the caller can stop with a valid
    network; `terms["finite"]` is then False. `plan` is the time plan (`jsnn.nn.time_plan`).

    Raises:
        ValueError: from the step, before anything is computed: a state without a reference, whose
            arrays were donated, or with the optimiser state of other parameters; labels that are
            no classes of the network, or fewer than samples; an index (NumPy) outside the set; an
            empty batch. A state that the step returned, and the same labels, are not checked again.
    """
    step = _step(model, objective, optimiser, encoder, plan)
    return _checked(step, step, optimiser, takes_classes(objective.loss))


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
    first axis of n. The keys, and so the network, are those of n single steps, without n
    dispatches; the whole set must live on the device. Each length n is compiled separately.

    Raises:
        ValueError: as from a step of `make_train_step`.
    """
    step = _step(model, objective, optimiser, encoder, plan)

    def epoch(state: TrainState, data, index):
        return jax.lax.scan(lambda state, row: step(state, data, row), state, index)

    return _checked(epoch, step, optimiser, takes_classes(objective.loss))


def _checked(
    function: Callable,
    step: Callable,
    optimiser: optax.GradientTransformation,
    classes: bool,
) -> Callable:
    """The function jitted, its state donated; its arguments are checked first, outside the jit.

    A wrong label or reference makes every loss NaN, and a step that is not finite changes nothing.
    Inside another transformation nothing can be checked; `lower`, `trace` and the like are those of
    the jitted function.

    Args:
        function: the function to jit, of one step or of many.
        step: from `_step`; the function calls it.
        optimiser: of the step.
        classes: whether the labels are classes.
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
        # The state that this step returned last needs no check, nor do labels once checked.
        if state.step is not counter:
            _check_state(state, optimiser)
        fresh = labels is not labels_seen
        if fresh:
            check_samples(frames, labels)
            if classes:
                check_classes(labels)
        _check_index(index, len(labels))
        if fresh and classes:
            if step.classes is None:
                # Tracing notes the number of classes; the trace is reused for the call.
                jitted.trace(state, data, index)
            _check_below(labels, step.classes)
        state, terms = jitted(state, data, index)
        counter, labels_seen = state.step, labels
        return state, terms

    for name in ("lower", "trace", "eval_shape", "clear_cache", "_cache_size"):
        setattr(checked, name, getattr(jitted, name))
    return checked


def check_samples(frames: Any, labels: Any) -> None:
    """Raise ValueError unless there are samples, and each has a label."""
    if not len(labels):
        raise ValueError("the set is empty: it has no sample; give at least one, with its label")
    if len(frames) != len(labels):
        raise ValueError(
            f"{len(frames)} samples and {len(labels)} labels: give one label, or row of labels, "
            "for each sample"
        )


def check_classes(labels: Any) -> None:
    """Raise ValueError unless every label is a class from 0 up."""
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


def _check_below(labels: Any, classes: int) -> None:
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
        # Reading it would make the host wait for the device.
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
    for name, numbers in (state.terms or {}).items():
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(numbers)):
            raise ValueError(
                f"the numbers of the term {name!r} are {numbers}, and no loss can be finite: "
                "measure them first, state, first = start_terms(state, model, objective, encoder, "
                "frames)"
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
        key = step_key(state)
        samples, labels = data if index is None else (data[0][index], data[1][index])
        frames = encoder(key, samples)

        def loss(params):
            variables = {"params": params, **state.collections}
            passed = forward(
                model,
                variables,
                frames,
                train=True,
                rngs=streams(key),
                plan=plan,
                unpriced=objective.unpriced,
            )
            value, terms = objective(
                passed.outputs, labels, passed.workload, params, state.terms, state.step
            )
            step.classes = passed.outputs.shape[-1]
            rates = jnp.stack([layer.spike_rate.mean() for layer in passed.workload])
            return value, (terms | {"spike_rates": rates}, passed.updates)

        (value, (terms, updates)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        # The energy is reported beside the loss, also where it has no weight.
        finite = jnp.isfinite(value) & jnp.isfinite(terms["total_pj"])
        finite &= jnp.isfinite(optax.tree.norm(grads))
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

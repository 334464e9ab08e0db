"""Task losses and metrics: functions of outputs and labels, one value per sample.

A loss is any function `(outputs, labels) -> [B]`, a metric any function `(outputs, labels) ->
[B, ...]`, whose sum over a set an evaluation returns. Those here are frozen dataclasses, which
are equal where their settings are, so that a step is compiled once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

__all__ = [
    "LOSSES",
    "TET",
    "ConfusionMatrix",
    "CrossEntropy",
    "EveryStep",
    "Loss",
    "MeanSquaredError",
    "Metric",
    "accuracy",
    "balanced_weights",
    "name_of",
    "recall_by_class",
    "takes_classes",
]

Loss = Callable[[jax.Array, jax.Array], jax.Array]
Metric = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Classification:
    """Cross entropy of classes, with weights by class and smoothed labels.

    CE(o, y) = w_y [-(1 - e) log p_y - e mean_c log p_c],   p = softmax(o)

    Attributes:
        class_weights: w of each class; None: 1. `balanced_weights` makes them.
        label_smoothing: e, in [0, 1).
    """

    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    # Labels are classes from 0 up, which steps and evaluations check.
    labels: ClassVar[str] = "classes"

    def __post_init__(self) -> None:
        if self.class_weights is not None:
            weights = tuple(float(weight) for weight in self.class_weights)
            if not weights or not all(0 <= weight < np.inf for weight in weights):
                raise ValueError(
                    f"class_weights must be finite and not negative, one of each class, got "
                    f"{self.class_weights}"
                )
            object.__setattr__(self, "class_weights", weights)
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")

    def _check(self, fits: bool, shapes: str, outputs: jax.Array, labels: jax.Array) -> None:
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise ValueError(
                f"labels must be classes, integers from 0 up, got {labels.dtype}"
                f"{list(labels.shape)}; of a one-hot array take labels.argmax(-1), and for real "
                "targets a loss of regression (jsnn.train.losses.MeanSquaredError)"
            )
        _expect(fits, shapes, outputs, labels)

    def _entropy(self, outputs: jax.Array, labels: jax.Array) -> jax.Array:
        """`[..., C]` and `[...]` to `[...]`."""
        entropy = optax.losses.softmax_cross_entropy_with_integer_labels(outputs, labels)
        if self.label_smoothing:
            # One logarithm for all classes: the mean of -log p_c.
            even = jax.nn.logsumexp(outputs, axis=-1) - outputs.mean(-1)
            entropy = (1 - self.label_smoothing) * entropy + self.label_smoothing * even
        if self.class_weights is None:
            return entropy
        classes = outputs.shape[-1]
        if len(self.class_weights) != classes:
            raise ValueError(
                f"class_weights has {len(self.class_weights)} weights and the network {classes} "
                "classes: give one for each"
            )
        return jnp.asarray(self.class_weights, outputs.dtype)[labels] * entropy


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossEntropy(_Classification):
    """Cross entropy of the readout: `[B, C]` and labels `[B]` to `[B]`.

    Attributes:
        class_weights: one of each class; None: all 1.
        label_smoothing: share of a label that is spread over all classes.

    Raises:
        ValueError: shapes or labels that do not fit; weights that are negative or not one a class.

    >>> import jax.numpy as jnp
    >>> outputs, labels = jnp.zeros((1, 4)), jnp.array([2])
    >>> CrossEntropy()(outputs, labels)
    Array([1.386], dtype=float32)
    >>> CrossEntropy(class_weights=(1, 1, 0.5, 1))(outputs, labels)
    Array([0.693], dtype=float32)
    """

    def __call__(self, outputs: jax.Array, labels: jax.Array) -> jax.Array:
        """Loss of each sample."""
        fits = outputs.ndim == 2 and labels.shape == outputs.shape[:1]
        self._check(fits, "[B, C], [B]", outputs, labels)
        return self._entropy(outputs, labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EveryStep(_Classification):
    """Cross entropy of every step, averaged over time: `[T, B, C]`, `[B, T]` to `[B]`.

    Source: Yin, Corradi & Bohte 2021 (2103.12593), the loss of their ECG task, which sums.

    Attributes:
        class_weights, label_smoothing: as for `CrossEntropy`.

    >>> import jax.numpy as jnp
    >>> EveryStep()(jnp.zeros((3, 1, 4)), jnp.zeros((1, 3), int))
    Array([1.386], dtype=float32)
    """

    def __call__(self, outputs: jax.Array, labels: jax.Array) -> jax.Array:
        """Loss of each sample."""
        fits = outputs.ndim == 3 and labels.shape == outputs.shape[1::-1]
        self._check(fits, "[T, B, C], [B, T]", outputs, labels)
        return self._entropy(outputs, labels.T).mean(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TET(_Classification):
    """Temporal efficient training: `[T, B, C]` and labels `[B]` to `[B]`.

    L = (1 - lamb) mean_t CE(o_t, y) + lamb mean_(t, c) (o_t - phi)^2

    Source: Deng et al. 2022 (2202.11946), eq. 11; phi and the mean over logits as in their code.

    Attributes:
        lamb, phi: weight and value of the outputs' target.
        class_weights, label_smoothing: as for `CrossEntropy`.

    >>> import jax.numpy as jnp
    >>> TET(lamb=0.5)(jnp.zeros((3, 1, 4)), jnp.array([1]))
    Array([1.193], dtype=float32)
    """

    lamb: float = 1e-3
    phi: float = 1.0

    def __call__(self, outputs: jax.Array, labels: jax.Array) -> jax.Array:
        """Loss of each sample."""
        fits = outputs.ndim == 3 and labels.shape == outputs.shape[1:2]
        self._check(fits, "[T, B, C], [B]", outputs, labels)
        repeated = jnp.broadcast_to(labels, outputs.shape[:2])
        entropy = self._entropy(outputs, repeated).mean(0)
        return (1 - self.lamb) * entropy + self.lamb * jnp.square(outputs - self.phi).mean((0, 2))


@dataclasses.dataclass(frozen=True)
class MeanSquaredError:
    """Squared error of a regression, averaged over everything but the samples: to `[B]`.

    Outputs `[B, C]` with targets `[B, C]` (`[B]` for one output), outputs of every step
    `[T, B, C]` with targets `[B, T, C]` (`[B, T]` for one output).

    >>> import jax.numpy as jnp
    >>> MeanSquaredError()(jnp.array([[1.0, 3.0]]), jnp.array([[1.0, 1.0]]))
    Array([2.], dtype=float32)
    """

    def __call__(self, outputs: jax.Array, labels: jax.Array) -> jax.Array:
        """Loss of each sample."""
        by_sample = jnp.moveaxis(outputs, 1, 0) if outputs.ndim == 3 else outputs
        targets = labels[..., None] if labels.ndim == by_sample.ndim - 1 else labels
        _expect(
            by_sample.ndim in (2, 3) and targets.shape == by_sample.shape,
            "[B, C] and [B, C], or [T, B, C] and [B, T, C]",
            outputs,
            labels,
        )
        errors = optax.losses.squared_error(by_sample, targets.astype(by_sample.dtype))
        return errors.reshape(len(errors), -1).mean(-1)


# By the names that a command line takes.
LOSSES: dict[str, Loss] = {
    "cross-entropy": CrossEntropy(),
    "every-step": EveryStep(),
    "tet": TET(),
    "mean-squared-error": MeanSquaredError(),
}


def takes_classes(loss: Loss) -> bool:
    """Whether the labels of a loss are classes from 0 up; of a function of your own: no.

    Give your own loss an attribute `labels = "classes"`, and labels are checked and the accuracy
    is measured.

    >>> takes_classes(CrossEntropy()), takes_classes(lambda outputs, labels: 0.0)
    (True, False)
    """
    return getattr(loss, "labels", None) == "classes"


def balanced_weights(labels: Any, classes: int) -> tuple[float, ...]:
    """Weights by which every class counts alike: samples / (classes · samples of the class).

    Args:
        labels: of the training samples.
        classes: how many there are.

    Raises:
        ValueError: a class without a sample, labels that are no classes.

    >>> balanced_weights([0, 0, 0, 1], 2)
    (0.667, 2.0)
    """
    numbers = np.asarray(labels).ravel()
    if not np.issubdtype(numbers.dtype, np.integer) or (numbers < 0).any():
        raise ValueError(f"labels must be classes, integers from 0 up, got {numbers.dtype}")
    counts = np.bincount(numbers, minlength=classes)
    if len(counts) > classes or not counts.all():
        raise ValueError(
            f"expected samples of every class from 0 to {classes - 1}, found {counts.tolist()}"
        )
    return tuple((counts.sum() / (classes * counts)).tolist())


def accuracy(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of correct answers of each sample, `[B]`.

    `[B, C]` with labels `[B]`: 0 or 1. `[T, B, C]` with labels `[B, T]`: the share of steps;
    with labels `[B]`: 0 or 1 for the mean over time. NaN where an output is NaN.

    Raises:
        ValueError: outputs or labels of any other shape.

    >>> import jax.numpy as jnp
    >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1]))
    Array([1., 0.], dtype=float32)
    """
    logits, labels = _answers(outputs, labels)
    right = (logits.argmax(-1) == labels).astype(jnp.float32)
    right = jnp.where(jnp.isnan(logits).any(-1), jnp.nan, right)
    return right.mean(0) if right.ndim == 2 else right


@dataclasses.dataclass(frozen=True)
class ConfusionMatrix:
    """Answers of each sample by class: `[B, C, C]`, rows are labels and columns answers.

    Of outputs of every step with labels of every step, the shares of the steps; otherwise as
    `accuracy`. NaN where an output is NaN. Its sum over a set counts the samples.

    >>> import jax.numpy as jnp
    >>> counts = ConfusionMatrix()(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1])).sum(0)
    >>> counts.tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """

    name: ClassVar[str] = "confusion_matrix"

    def __call__(self, outputs: jax.Array, labels: jax.Array) -> jax.Array:
        """Matrix of each sample."""
        logits, labels = _answers(outputs, labels)
        one_hot = functools.partial(jax.nn.one_hot, num_classes=logits.shape[-1])
        cells = one_hot(labels)[..., :, None] * one_hot(logits.argmax(-1))[..., None, :]
        cells = jnp.where(jnp.isnan(logits).any(-1)[..., None, None], jnp.nan, cells)
        return cells.mean(0) if cells.ndim == 4 else cells


def recall_by_class(confusion_matrix: Any) -> np.ndarray:
    """Share of the samples of each class that are answered correctly; NaN of a class without any.

    Args:
        confusion_matrix: `[C, C]`, summed over a set.

    >>> recall_by_class([[3, 1], [0, 2]]).tolist()
    [0.75, 1.0]
    """
    matrix = np.asarray(confusion_matrix, np.float64)
    samples = matrix.sum(1)
    return np.where(samples > 0, np.diag(matrix) / np.where(samples > 0, samples, 1), np.nan)


def name_of(function: Callable) -> str:
    """The name of a metric among the sums of an evaluation: its `name`, or that of the function.

    Raises:
        ValueError: it has neither.

    >>> name_of(accuracy), name_of(ConfusionMatrix())
    ('accuracy', 'confusion_matrix')
    """
    name = getattr(function, "name", None) or getattr(function, "__name__", None)
    if name is None or name == "<lambda>":
        raise ValueError(
            f"a metric needs a name: give {function!r} an attribute `name`, or define it with def"
        )
    return name


def _answers(outputs: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits and labels of each answer: `[B, C]` and `[B]`, or of each step."""
    each_step = outputs.ndim == 3 and labels.ndim == 2
    expected = outputs.shape[1::-1] if each_step else outputs.shape[-2:-1]
    fits = outputs.ndim in (2, 3) and labels.shape == expected
    _expect(fits, "[B, C] and [B], [T, B, C] and [B, T], or [T, B, C] and [B]", outputs, labels)
    if each_step:
        return outputs, labels.T
    return outputs.mean(0) if outputs.ndim == 3 else outputs, labels


def _expect(fits: bool, shapes: str, outputs: jax.Array, labels: jax.Array) -> None:
    if not fits:
        raise ValueError(
            f"expected outputs and labels of shapes {shapes}, got {list(outputs.shape)} and "
            f"{list(labels.shape)}; check the readout of the network against the task"
        )

"""Task losses and accuracy, one value per sample."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

TaskLoss = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropy of the readout: `[B, C]` and labels `[B]` to `[B]`.

    >>> import jax.numpy as jnp
    >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))
    Array([1.386], dtype=float32)
    """
    _expect(outputs.ndim == 2 and labels.shape == outputs.shape[:1], "[B, C], [B]", outputs, labels)
    return optax.losses.softmax_cross_entropy_with_integer_labels(outputs, labels)


def every_step(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Negative log-likelihood of every step, averaged over time: `[T, B, C]`, `[B, T]` to `[B]`.

    Source: Yin, Corradi & Bohte 2021 (2103.12593), the loss of their ECG task, which sums.

    >>> import jax.numpy as jnp
    >>> every_step(jnp.zeros((3, 1, 4)), jnp.zeros((1, 3), int))
    Array([1.386], dtype=float32)
    """
    _expect(
        outputs.ndim == 3 and labels.shape == outputs.shape[1::-1],
        "[T, B, C], [B, T]",
        outputs,
        labels,
    )
    steps = optax.losses.softmax_cross_entropy_with_integer_labels(outputs, labels.T)
    return steps.mean(0)


def tet(outputs: jax.Array, labels: jax.Array, lamb: float = 1e-3, phi: float = 1.0) -> jax.Array:
    """Temporal efficient training: `[T, B, C]` and labels `[B]` to `[B]`.

    L = (1 - lamb) mean_t CE(o_t, y) + lamb mean_(t, c) (o_t - phi)^2

    Source: Deng et al. 2022 (2202.11946), eq. 11; phi and the mean over logits as in their code.

    >>> import jax.numpy as jnp
    >>> tet(jnp.zeros((3, 1, 4)), jnp.array([1]), lamb=0.5)
    Array([1.193], dtype=float32)
    """
    _expect(
        outputs.ndim == 3 and labels.shape == outputs.shape[1:2], "[T, B, C], [B]", outputs, labels
    )
    repeated = jnp.broadcast_to(labels, outputs.shape[:2])
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels(outputs, repeated).mean(0)
    return (1 - lamb) * entropy + lamb * jnp.square(outputs - phi).mean((0, 2))


TASKS: dict[str, TaskLoss] = {
    "cross-entropy": cross_entropy,
    "every-step": every_step,
    "tet": tet,
}


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
    each_step = outputs.ndim == 3 and labels.ndim == 2
    expected = outputs.shape[1::-1] if each_step else outputs.shape[-2:-1]
    fits = outputs.ndim in (2, 3) and labels.shape == expected
    _expect(fits, "[B, C] and [B], [T, B, C] and [B, T], or [T, B, C] and [B]", outputs, labels)
    if each_step:
        return _right(outputs, labels.T).mean(0)
    return _right(outputs.mean(0) if outputs.ndim == 3 else outputs, labels)


def _right(logits: jax.Array, labels: jax.Array) -> jax.Array:
    right = (logits.argmax(-1) == labels).astype(jnp.float32)
    return jnp.where(jnp.isnan(logits).any(-1), jnp.nan, right)


def _expect(fits: bool, shapes: str, outputs: jax.Array, labels: jax.Array) -> None:
    if not fits:
        raise ValueError(
            f"expected outputs and labels of shapes {shapes}, got {list(outputs.shape)} and "
            f"{list(labels.shape)}; check the readout of the network against the task"
        )

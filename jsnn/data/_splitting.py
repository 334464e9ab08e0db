"""Stratified, seeded splits of label arrays, in NumPy alone."""

from __future__ import annotations

import numpy as np


def stratified_split(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Take exactly `count` samples, from each class in proportion to its size.

    Class c gives `floor(count · n_c / N)` samples; the rest comes from the
    classes with the largest remainders.

    Args:
        labels: `[N]` class numbers.
        count: samples to take, `1 <= count < N`.
        seed: seed of the permutation within each class.

    Returns:
        Sorted indices of the samples left, and of those taken.

    Raises:
        ValueError: if `count` leaves nothing on one side.

    Example:
        >>> rest, taken = stratified_split(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 2, seed=0)
        >>> len(rest), len(taken)
        (6, 2)
    """
    total = len(labels)
    if not 1 <= count < total:
        raise ValueError(f"expected to take 1 to {total - 1} of {total} samples, found {count}")
    classes, sizes = np.unique(labels, return_counts=True)
    shares = sizes * count
    quotas = shares // total
    by_remainder = np.argsort(-(shares % total), kind="stable")
    quotas[by_remainder[: count - quotas.sum()]] += 1
    random = np.random.default_rng(seed)
    taken = np.concatenate(
        [
            random.permutation(np.flatnonzero(labels == c))[:quota]
            for c, quota in zip(classes, quotas, strict=True)
        ]
    )
    mask = np.zeros(total, bool)
    mask[taken] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def assign_folds(labels: np.ndarray, of: int, seed: int) -> np.ndarray:
    """Give each sample a fold, so that folds differ by one sample at most, as do class counts.

    Args:
        labels: `[N]` class numbers.
        of: number of folds.
        seed: seed of the permutation within each class.

    Returns:
        `[N]` fold numbers in `[0, of)`.

    Example:
        >>> np.bincount(assign_folds(np.array([0, 0, 0, 1, 1, 1]), of=3, seed=0))
        array([2, 2, 2])
    """
    random = np.random.default_rng(seed)
    order = np.concatenate(
        [random.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    )
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % of
    return fold


def fraction_count(total: int, fraction: float) -> int:
    """Samples in a fraction of `total`, rounded down as the published splits do, at least one.

    Raises:
        ValueError: for a fraction outside (0, 1).

    Example:
        >>> fraction_count(618, 0.1)
        61
    """
    if not 0 < fraction < 1:
        raise ValueError(f"expected a fraction between 0 and 1, found {fraction}")
    return max(1, int(total * fraction))

"""Events to frames: counting in time bins."""

from __future__ import annotations

import numpy as np


def bin_events(
    times: np.ndarray, sites: np.ndarray, *, steps: int, size: int, window: float
) -> np.ndarray:
    """Count events in `steps` equal bins of `[0, window)`.

    Equation: `frames[floor(t · steps / window), site] += 1`. Events at or after the end of the
    window are left out.

    Args:
        times: `[E]` times, in the unit of `window`.
        sites: `[E]` flat addresses in `[0, size)`.
        steps: number of bins T.
        size: number of addresses.
        window: duration of the recording that is kept.

    Returns:
        `[T, size]` int64 counts.

    Raises:
        ValueError: for no steps, no window, negative times or addresses outside the sensor.

    Example:
        >>> bin_events(np.array([0, 5, 9]), np.array([1, 0, 1]), steps=2, size=2, window=10)
        array([[0, 1],
               [1, 1]])
    """
    if steps < 1:
        raise ValueError(f"expected at least one time step, found steps={steps}")
    if not window > 0:
        raise ValueError(f"expected a positive time window, found {window}")
    if len(times) and times.min() < 0:
        raise ValueError(f"expected event times from 0 on, found {times.min()}")
    if len(sites) and (sites.min() < 0 or sites.max() >= size):
        raise ValueError(
            f"expected event addresses in [0, {size}), found [{sites.min()}, {sites.max()}]"
        )
    inside = times < window
    bins = (times[inside] * (steps / window)).astype(np.int64)
    # A time just below the window can round up to `steps`.
    flat = np.minimum(bins, steps - 1) * size + sites[inside].astype(np.int64)
    return np.bincount(flat, minlength=steps * size).reshape(steps, size)


def rebin(frames: np.ndarray, steps: int) -> np.ndarray:
    """Sum neighbouring steps of `[N, T, ...]` counts, so that T becomes `steps`.

    Bins are as equal as they can be: bin i holds steps `floor(i T / steps)` up to
    `floor((i + 1) T / steps)`.

    Returns:
        `[N, steps, ...]` int64 counts.

    Raises:
        ValueError: unless `1 <= steps <= T`.

    Example:
        >>> rebin(np.ones((1, 5, 1), np.uint8), 2)[0, :, 0]
        array([2, 3])
    """
    if not 1 <= steps <= frames.shape[1]:
        raise ValueError(f"expected steps between 1 and {frames.shape[1]}, found {steps}")
    starts = np.arange(steps) * frames.shape[1] // steps
    return np.add.reduceat(frames, starts, axis=1, dtype=np.int64)


def as_events(counts: np.ndarray, binary: bool) -> np.ndarray:
    """Counts as uint8 frames: 1 where anything happened, or the counts themselves.

    Raises:
        ValueError: if a count does not fit 8 bits.

    Example:
        >>> as_events(np.array([0, 3]), binary=True)
        array([0, 1], dtype=uint8)
    """
    if binary:
        return (counts > 0).astype(np.uint8)
    if counts.size and counts.max() > 255:
        raise ValueError(f"a bin holds {counts.max()} events, more than 8 bits: take more steps")
    return counts.astype(np.uint8)

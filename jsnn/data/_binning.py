"""Events to frames: counting in time bins, exact for events on an edge."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

MICROSECONDS = 10**6
LATEST = np.iinfo(np.int64).max


def bin_events(
    times: np.ndarray, sites: np.ndarray, *, steps: int, size: int, window: int | Fraction
) -> np.ndarray:
    """Count events in `steps` equal bins of `[0, window)`, in whole numbers throughout.

    Equation: `frames[floor(t · steps / window), site] += 1`. Events at or after the end of the
    window are left out.

    Args:
        times: `[E]` integer times, in the unit of `window`; see `whole_microseconds` for seconds.
        sites: `[E]` flat integer addresses in `[0, size)`.
        steps: number of bins T.
        size: number of addresses.
        window: duration of the recording that is kept, exact; see `microseconds` for seconds.

    Returns:
        `[T, size]` int64 counts.

    Raises:
        ValueError: for no steps, no window, a window that is a float, times or addresses that are
            no integers, negative times, addresses outside the sensor, or columns of unequal length.

    Example:
        >>> bin_events(np.array([0, 5, 9]), np.array([1, 0, 1]), steps=2, size=2, window=10)
        array([[0, 1],
               [1, 1]])
    """
    _check_bins(steps, window)
    _check_columns(times, sites, size)
    # A whole time t lies behind the edge k · window / steps from the next whole number on.
    width = Fraction(window if isinstance(window, Fraction) else int(window)) / int(steps)
    edges = [min(math.ceil(width * number), LATEST) for number in range(1, int(steps) + 1)]
    bins = np.searchsorted(np.array(edges, np.int64), times.astype(np.int64), side="right")
    inside = bins < steps
    flat = bins[inside] * size + sites[inside].astype(np.int64)
    return np.bincount(flat, minlength=steps * size).reshape(steps, size)


def _check_bins(steps: int, window: int | Fraction) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"expected at least one time step, found steps={steps}")
    if not isinstance(window, int | np.integer | Fraction):
        raise ValueError(
            f"expected a whole number or a Fraction as time window, found {window!r}; a float is "
            "beside the edges of its bins"
        )
    if not window > 0:
        raise ValueError(f"expected a positive time window, found {window}")


def _check_columns(times: np.ndarray, sites: np.ndarray, size: int) -> None:
    if len(times) != len(sites):
        raise ValueError(
            f"expected as many addresses as times, found {len(sites)} beside {len(times)}"
        )
    for what, column in (("times", times), ("addresses", sites)):
        if len(column) and not np.issubdtype(column.dtype, np.integer):
            raise ValueError(f"expected whole numbers as event {what}, found {column.dtype}")
    if len(times) and times.min() < 0:
        raise ValueError(f"expected event times from 0 on, found {times.min()}")
    if len(sites) and (sites.min() < 0 or sites.max() >= size):
        raise ValueError(
            f"expected event addresses in [0, {size}), found [{sites.min()}, {sites.max()}]"
        )


def microseconds(seconds: float | str | Fraction, name: str = "duration") -> Fraction:
    """Microseconds of a duration as it was written: 0.1 s are 100,000 µs, not a float near it.

    Args:
        seconds: positive and finite.
        name: of the option, for the message.

    Raises:
        ValueError: for anything else.

    Example:
        >>> microseconds(0.05), microseconds("1/3")
        (Fraction(50000, 1), Fraction(1000000, 3))
    """
    try:
        exact = Fraction(str(seconds))
    except (ValueError, ZeroDivisionError):
        exact = Fraction(0)
    if not exact > 0:
        raise ValueError(f"expected a positive {name} in seconds, found {seconds}")
    return exact * MICROSECONDS


def whole_microseconds(seconds: np.ndarray) -> np.ndarray:
    """Whole microseconds of event times in seconds.

    Equation: `floor(10^6 t)`; where t is within rounding of a whole microsecond, that
    one: 0.29 s are 290,000 µs, though the float 0.29 lies below.

    Args:
        seconds: `[E]` floats or integers.

    Returns:
        `[E]` int64.

    Raises:
        ValueError: for NaN, infinity, negative times, or values that are no numbers.

    Example:
        >>> whole_microseconds(np.array([0.29, 0.3000007, 1.5]))
        array([ 290000,  300000, 1500000])
    """
    _check_numbers(seconds, "event times")
    if np.issubdtype(seconds.dtype, np.integer):
        seconds = seconds.astype(np.float64)
    exact = seconds.astype(np.float64) * MICROSECONDS
    nearest = np.rint(exact)
    # Of float16, as SHD keeps its times, the values lie up to a millisecond apart: their floor.
    unit = np.spacing(seconds).astype(np.float64) * MICROSECONDS
    meant = (unit < 0.25) & (np.abs(exact - nearest) <= unit)
    return _as_int64(np.where(meant, nearest, np.floor(exact)), "event times")


def whole_numbers(values: np.ndarray, name: str, scale: int = 1) -> np.ndarray:
    """Values times `scale` as int64, refused where they are no whole numbers.

    Args:
        values: `[E]` numbers or truth values; floats may be off by their own rounding.
        name: what they are, for the message.
        scale: whole number of wanted units in one of theirs, such as 1000 for ms to µs.

    Raises:
        ValueError: for NaN, infinity, fractions, negative values, or values that are no numbers.

    Example:
        >>> whole_numbers(np.array([0.0, 7.25]), "event times", 1000)
        array([   0, 7250])
    """
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    _check_numbers(values, name)
    if np.issubdtype(values.dtype, np.integer):
        if len(values) and int(values.max()) * scale > LATEST:
            raise ValueError(f"expected {name} up to {LATEST}, found {int(values.max()) * scale}")
        return values.astype(np.int64) * scale
    scaled = values.astype(np.float64) * scale
    rounding = np.spacing(values).astype(np.float64) * scale if scale > 1 else 0.0
    broken = np.abs(scaled - np.rint(scaled)) > rounding
    if broken.any():
        number = int(np.flatnonzero(broken)[0])
        raise ValueError(
            f"expected whole numbers as {name}, found {scaled[number]} at event {number}"
        )
    return _as_int64(np.rint(scaled), name)


def _check_numbers(values: np.ndarray, name: str) -> None:
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise ValueError(f"expected numbers as {name}, found {values.dtype}")
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        number = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"expected finite {name} from 0 on, found {values[number]} at event {number}"
        )


def _as_int64(values: np.ndarray, name: str) -> np.ndarray:
    if len(values) and values.max() >= 2.0**63:
        raise ValueError(f"expected {name} up to {LATEST}, found {values.max()}")
    return values.astype(np.int64)


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

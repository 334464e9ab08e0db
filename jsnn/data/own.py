"""Data of your own, as arrays or an `.npz` file; splits that are missing are made."""

from __future__ import annotations

import importlib
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jsnn._checks import check_number, shown, whole_number
from jsnn.data._files import decoding, naming
from jsnn.data.dataset import Dataset, Split, hold_out

__all__ = ["from_arrays", "load_npz"]

_SPLITS = ("validation", "test")
_FACTS = ("time_axis", "analog", "step_s", "input_bits")
KEYS = (
    *("frames", "labels"),
    *(f"{kind}_{split}" for split in _SPLITS for kind in ("frames", "labels")),
    *_FACTS,
)


def from_arrays(
    name: str,
    frames: Any,
    labels: Any,
    *,
    validation: tuple[Any, Any] | float = 0.1,
    test: tuple[Any, Any] | float = 0.2,
    time_axis: int | None = None,
    analog: bool = False,
    step_s: float | None = None,
    input_bits: int | None = None,
    seed: int = 0,
) -> Dataset:
    """A data set of arrays.

    Args:
        name: what results call it.
        frames: `[N, ...]` still samples, real numbers as the network shall see them; or recordings
            with a time axis: whole numbers of events from -128 to 255, or real values (`analog`).
        labels: `[N]` class numbers from 0, or `[N, T]`, one for each step.
        validation, test: frames and labels of these splits, or the share of the samples that is
            drawn for them: stratified by label where each sample has one, test first.
        time_axis: which axis of a recording is time, 1 or later; None: samples are still.
        analog: recordings are real values, a new one in each step, not events.
        step_s: seconds that a step stands for; None: the data has no clock.
        input_bits: width of a real value as it was recorded; None: unknown, as wide as the
            machine's input words.
        seed: of the drawn splits.

    Raises:
        ValueError: naming the split and what is wrong with it.

    >>> images = np.linspace(0, 1, 40).reshape(10, 4)
    >>> data = from_arrays("mine", images, np.arange(10) % 2)
    >>> [len(split) for split in data.splits.values()], data.classes
    ([7, 1, 2], 2)
    """
    shares = {"test": test, "validation": validation}
    with naming(f"data set {name!r}"):
        if step_s is not None:
            check_number("step_s", step_s, np.finfo(np.float32).tiny)
        if input_bits is not None:
            input_bits = whole_number("input_bits", input_bits, 1, 64)
        given = {title: pair for title, pair in shares.items() if isinstance(pair, tuple | list)}
        splits = {
            title: _split(title, pair, time_axis, bool(analog))
            for title, pair in {"train": (frames, labels), **given}.items()
        }
        if time_axis is not None and not analog:
            splits = _as_events(splits)
        for title in (title for title in shares if title not in given):
            check_number(f"the share of {title}", shares[title], 0, 1)
            splits["train"], splits[title] = hold_out(splits["train"], shares[title], seed)
    drawn = [f"{title} {share:g}" for title, share in shares.items() if title not in given]
    return Dataset(
        name,
        **splits,
        classes=1 + max(int(split.labels.max(initial=0)) for split in splits.values()),
        timed=time_axis is not None,
        per_step=splits["train"].labels.ndim == 2,
        dt_s=None if step_s is None else float(step_s),
        input_bits=input_bits,
        source="arrays of the user's",
        notes=f"Drawn from the samples, seed {seed}: {', '.join(drawn)}." if drawn else "",
    )


def load_npz(
    path: str | os.PathLike[str], seed: int = 0, *, validation: float = 0.1, test: float = 0.2
) -> Dataset:
    """A data set of an `.npz` file, whose keys are arguments of `from_arrays`.

    `frames` and `labels` are needed; `frames_validation`, `labels_validation`, `frames_test`,
    `labels_test`, `time_axis`, `analog`, `step_s` and `input_bits` are not.

    Args:
        path: of the file.
        seed: of splits that are not in the file.
        validation, test: shares of the samples for splits that are not in the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: naming the file, for a damaged one, and for keys that are missing or unknown.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", frames=np.ones((20, 5, 3)), labels=np.arange(20) % 4,
    ...              time_axis=1)
    ...     data = load_npz(f"{folder}/mine.npz")
    >>> data.name, data.steps, data.train.frames.dtype.name
    ('mine', 5, 'uint8')
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such data set file: {path}")
    with decoding(path, ".npz file"):
        if not zipfile.is_zipfile(path):
            raise ValueError("no zip archive; numpy.savez writes one")
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    with naming(path):
        _check_keys(arrays)
        given = {"validation": validation, "test": test}
        for split in _SPLITS:
            if f"frames_{split}" in arrays:
                given[split] = (arrays[f"frames_{split}"], arrays[f"labels_{split}"])
        facts = {key: _number(key, arrays[key]) for key in _FACTS if key in arrays}
        return from_arrays(
            path.stem, arrays["frames"], arrays["labels"], seed=seed, **given, **facts
        )


def imported(name: str, what: str) -> Any:
    """The object that `package.module:object` names.

    Args:
        name: dotted path of a module, a colon, and a name in it.
        what: what it should be, for the message.

    Raises:
        ValueError: another form, no such module or object; an error of the module itself is not
            hidden.

    >>> imported("math:floor", "a function")(2.5)
    2
    """
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", name):
        raise ValueError(f"expected {what} as package.module:name, found {shown(name)}")
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise ValueError(
                f"{name}: expected {what} as package.module:name, found no module {error.name!r} "
                "on the path of Python (the working folder is on it with python -m)"
            ) from error
        raise
    if not hasattr(found, attribute):
        raise ValueError(f"{name}: the module {module} has no {attribute!r}: expected {what}")
    return getattr(found, attribute)


def loader_of(name: str) -> Callable[..., Dataset]:
    """The function that `package.module:function` names, which makes a data set."""
    function = imported(name, "a function that returns a jsnn.data.Dataset")
    if not callable(function):
        raise ValueError(f"{name}: expected a function, found {type(function).__name__}")
    return function


def _check_keys(arrays: Mapping[str, np.ndarray]) -> None:
    missing = [key for key in ("frames", "labels") if key not in arrays]
    for split in _SPLITS:
        pair = (f"frames_{split}", f"labels_{split}")
        there = [key in arrays for key in pair]
        missing += [key for key, found in zip(pair, there, strict=True) if any(there) and not found]
    unknown = sorted(set(arrays) - set(KEYS))
    if missing or unknown:
        raise ValueError(
            f"expected the keys frames and labels, and if need be {', '.join(KEYS[2:])}; missing: "
            f"{', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
        )


def _number(key: str, value: np.ndarray) -> Any:
    if value.size != 1 or value.dtype.kind not in "biuf":
        raise ValueError(f"expected {key} to be one number, found {value.dtype} {value.shape}")
    return value.reshape(()).item()


def _split(title: str, pair: Any, time_axis: int | None, analog: bool) -> Split:
    with naming(title):
        if len(pair) != 2:
            raise ValueError(f"expected frames and labels, found {len(pair)} entries")
        frames, labels = map(np.asarray, pair)
        if len(np.atleast_1d(labels)) != len(np.atleast_1d(frames)):
            raise ValueError(
                "expected a label for each sample, found "
                f"{len(np.atleast_1d(labels))} beside {len(np.atleast_1d(frames))}"
            )
        return Split(_frames(frames, time_axis, analog), _labels(labels))


def _labels(labels: np.ndarray) -> np.ndarray:
    fits = labels.dtype.kind in "biuf" and labels.ndim in (1, 2) and _whole(labels)
    if fits and labels.size:
        fits = labels.min() >= 0 and labels.max() <= np.iinfo(np.int32).max
    if not fits:
        raise ValueError(
            "expected class numbers 0, 1, ... as labels, [N] or, for each step, [N, T], found "
            f"{labels.dtype} {labels.shape}"
        )
    return labels.astype(np.int32)


def _frames(frames: np.ndarray, time_axis: int | None, analog: bool) -> np.ndarray:
    """Frames with time on axis 1; real values as float32, events as they came."""
    if frames.dtype.kind not in "biuf":
        raise ValueError(f"expected numbers as frames, found {frames.dtype}")
    if time_axis is None:
        if analog:
            raise ValueError("analog is for recordings: say which axis is time (time_axis=1)")
        if frames.dtype.kind in "iu":
            raise ValueError(
                f"expected real numbers as still samples, found {frames.dtype}: scale them to what "
                "the network shall see, as frames / 255"
            )
        return frames.astype(np.float32)
    if frames.ndim < 2:
        raise ValueError(f"expected recordings [N, T, ...], found {frames.shape}")
    # Axis 0 is the samples.
    frames = np.moveaxis(frames, whole_number("time_axis", time_axis, 1, frames.ndim - 1), 1)
    return frames.astype(np.float32) if analog else frames


def _as_events(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Whole numbers of events in one type for all splits: int8 where any of them has a sign."""
    ends = {
        title: (split.frames.min(), split.frames.max()) if split.frames.size else (0, 0)
        for title, split in splits.items()
    }
    signed = any(low < 0 for low, _ in ends.values())
    kind = np.dtype(np.int8 if signed else np.uint8)
    limits = np.iinfo(kind)
    for title, (low, high) in ends.items():
        if not _whole(splits[title].frames) or low < limits.min or high > limits.max:
            raise ValueError(
                f"{title}: expected whole numbers of events, 0 to 255, or -128 to 127 where any "
                f"has a sign, found values from {low:g} to {high:g}: for real values say "
                "analog=True"
            )
    return {title: Split(s.frames.astype(kind), s.labels) for title, s in splits.items()}


def _whole(values: np.ndarray) -> bool:
    return values.dtype.kind != "f" or bool((values == np.floor(values)).all())

"""Data sets as plain arrays: the result of every loader, checked before it is returned."""

from __future__ import annotations

import dataclasses

import numpy as np

from jsnn.data._splitting import assign_folds, fraction_count, stratified_split

FRAME_DTYPES = (np.uint8, np.int8, np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Samples of one split, batch first.

    Attributes:
        frames: still data `[N, ...]`, recorded data `[N, T, ...]`; uint8, int8 or float32.
        labels: int32 class numbers, `[N]`, or `[N, T]` where every step has a label.

    Example:
        >>> split = Split(np.zeros((4, 2), np.float32), np.array([0, 1, 1, 1], np.int32))
        >>> len(split), split.majority
        (4, 0.75)
    """

    frames: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: np.ndarray | slice) -> Split:
        return Split(self.frames[index], self.labels[index])

    @property
    def majority(self) -> float:
        """Share of the most frequent label: the accuracy of a constant answer."""
        return float(np.bincount(self.labels.reshape(-1)).max() / self.labels.size)


def hold_out(samples: Split, share: float, seed: int) -> tuple[Split, Split]:
    """The samples without a stratified share of them, and that share.

    Args:
        samples: with a label each; where every step has one, they count as one class.
        share: in (0, 1), rounded down to a whole number of samples, at least one.
        seed: of the draw within each class.

    Raises:
        ValueError: a share outside this range, or one that leaves nothing.

    Example:
        >>> split = Split(np.zeros((10, 2), np.float32), np.arange(10, dtype=np.int32) % 2)
        >>> [len(part) for part in hold_out(split, 0.2, seed=0)]
        [8, 2]
    """
    strata = samples.labels if samples.labels.ndim == 1 else np.zeros(len(samples), np.int32)
    rest, held = stratified_split(strata, fraction_count(len(samples), share), seed)
    return samples[rest], samples[held]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Train, validation and test samples of one task, checked on construction.

    Attributes:
        name: name under which `jsnn.data.load` knows it.
        train, validation, test: the splits; frames of one shape and dtype in all three.
        classes: number of classes C; labels lie in `[0, C)`.
        timed: True for recorded data `[N, T, ...]`, False for still data `[N, ...]`.
        per_step: True if every time step has a label of its own.
        dt_s: seconds one time step stands for; None where the data has no clock.
        input_bits: width of a real-valued sample as it was recorded; None for events.
        source: who made the data, and where it comes from.
        notes: how the arrays were made from the files, and what to say beside a result.

    Raises:
        ValueError: naming data set, split and check, for NaN or infinity, an empty split, labels
            out of range, no time steps, or shapes and dtypes that do not fit.

    Example:
        >>> still = Split(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1], np.int32))
        >>> data = Dataset("toy", still, still, still, classes=2, timed=False)
        >>> data.frame_shape, data.steps
        ((2,), None)
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    timed: bool
    per_step: bool = False
    dt_s: float | None = None
    input_bits: int | None = None
    source: str = ""
    notes: str = ""

    def __post_init__(self):
        if self.per_step and not self.timed:
            raise ValueError(
                f"data set {self.name!r}: labels per step need timed frames [N, T, ...]"
            )
        if self.classes < 2:
            raise ValueError(
                f"data set {self.name!r}: expected 2 classes or more, found {self.classes}"
            )
        for title, split in self.splits.items():
            _check(self, title, split)

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame, without sample and time axes."""
        return self.train.frames.shape[2 if self.timed else 1 :]

    @property
    def analog(self) -> bool:
        """True for recordings of real values rather than events."""
        return self.timed and self.train.frames.dtype == np.float32

    @property
    def steps(self) -> int | None:
        """Time steps T of recorded data, None for still data."""
        return self.train.frames.shape[1] if self.timed else None


def refit(dataset: Dataset) -> Dataset:
    """The data set with its validation samples added to the training split.

    For a final run, after model selection. The validation split stays, for logs; as it is then seen
        in training, it must choose nothing more.

    Example:
        >>> still = Split(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1], np.int32))
        >>> data = Dataset("toy", still, still, still, classes=2, timed=False)
        >>> len(refit(data).train)
        8
    """
    pool = _pooled(dataset)
    return dataclasses.replace(
        dataset, train=pool, notes=f"{dataset.notes} Trained on validation samples too.".strip()
    )


def folds(dataset: Dataset, k: int, of: int, seed: int = 0) -> Dataset:
    """Cross-validation over the training and validation samples; the test split stays unseen.

    Test is fold `k` of `of`; the other folds are split into training and validation samples in the
    proportion the data set had. Folds are stratified by label (random where steps have labels).

    Args:
        dataset: data set whose training and validation samples are pooled.
        k: fold to test on, `0 <= k < of`.
        of: number of folds, at least 2.
        seed: seed of the assignment; one seed gives disjoint test folds that cover every sample.

    Raises:
        ValueError: for a fold that does not exist, or more folds than samples.

    Example:
        >>> still = Split(np.zeros((20, 2), np.float32), np.arange(20, dtype=np.int32) % 2)
        >>> data = Dataset("toy", still, still, still, classes=2, timed=False)
        >>> parts = folds(data, 0, of=4)
        >>> len(parts.train), len(parts.validation), len(parts.test)
        (15, 15, 10)
    """
    pool = _pooled(dataset)
    labels = pool.labels
    if of < 2 or of > len(pool):
        raise ValueError(f"data set {dataset.name!r}: expected 2 to {len(pool)} folds, found {of}")
    if not 0 <= k < of:
        raise ValueError(f"data set {dataset.name!r}: expected a fold in [0, {of}), found {k}")
    strata = np.zeros(len(labels), np.int32) if dataset.per_step else labels
    fold = assign_folds(strata, of, seed)
    test, others = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
    wanted = max(1, round(len(others) * len(dataset.validation) / len(pool)))
    rest, held = stratified_split(strata[others], wanted, seed)
    return dataclasses.replace(
        dataset,
        train=pool[others[rest]],
        validation=pool[others[held]],
        test=pool[test],
        notes=f"{dataset.notes} Fold {k} of {of} (seed {seed}) of the training samples.".strip(),
    )


def _pooled(dataset: Dataset) -> Split:
    parts = (dataset.train, dataset.validation)
    return Split(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("frames", "labels")))


def _check(dataset: Dataset, title: str, split: Split) -> None:
    problem = (
        _frames_problem(split.frames, dataset.timed)
        or _labels_problem(dataset, split)
        or _likeness_problem(split.frames, dataset.train.frames)
    )
    if problem:
        raise ValueError(f"data set {dataset.name!r}, split {title!r}: {problem}")


def _frames_problem(frames: np.ndarray, timed: bool) -> str | None:
    if frames.dtype not in FRAME_DTYPES:
        names = ", ".join(np.dtype(d).name for d in FRAME_DTYPES)
        return f"expected frames of dtype {names}, found {frames.dtype}"
    if frames.ndim < 2 + timed:
        layout = "[N, T, ...]" if timed else "[N, ...]"
        return f"expected frames {layout} with a feature axis, found shape {frames.shape}"
    if len(frames) == 0:
        return "expected at least one sample, found none"
    if timed and frames.shape[1] == 0:
        return "expected at least one time step, found T = 0"
    if frames.size == 0:
        return f"expected frames with features, found shape {frames.shape}"
    # NaN and infinity survive min and max, so no mask as large as the data is needed.
    if not (np.isfinite(frames.min()) and np.isfinite(frames.max())):
        return "expected finite frames, found NaN or infinity"
    return None


def _labels_problem(dataset: Dataset, split: Split) -> str | None:
    frames, labels = split.frames, split.labels
    if labels.dtype != np.int32:
        return f"expected int32 labels, found {labels.dtype}"
    expected = frames.shape[:2] if dataset.per_step else frames.shape[:1]
    if labels.shape != expected:
        return f"expected labels of shape {expected} beside these frames, found {labels.shape}"
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= dataset.classes:
        return f"expected labels in [0, {dataset.classes}), found [{low}, {high}]"
    return None


def _likeness_problem(frames: np.ndarray, first: np.ndarray) -> str | None:
    if frames.shape[1:] != first.shape[1:] or frames.dtype != first.dtype:
        return (
            f"expected frames like those of train, {first.shape[1:]} {first.dtype}, "
            f"found {frames.shape[1:]} {frames.dtype}"
        )
    return None

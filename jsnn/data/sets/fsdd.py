"""Free Spoken Digit Dataset: speech through a log-mel front end to level-crossing events."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import numpy as np

from jsnn.data._cache import Cache
from jsnn.data._files import Folder, SourceFile, decoding, zip_members
from jsnn.data.dataset import Dataset, Split, hold_out

ARCHIVE = SourceFile(
    "fsdd_recordings.zip",
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
    "members(.wav):99aa5e3a7c822ab55b2a3b47e0b05aeb9f011c54837a12e3831ad24108330829",
)
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")
RATE_HZ = 8000
WINDOW = 256
LOWEST_HZ = 100.0
TEST_RECORDINGS = 5


def load_fsdd(
    folder: Folder,
    cache: Cache,
    seed: int,
    *,
    steps: int = 64,
    bands: int = 32,
    hop_s: float = 0.01,
    floor_db: float = 35.0,
    threshold_db: float = 3.0,
    analog: bool = False,
    holdout: str = "recordings",
    speaker: str | None = None,
    validation: float = 0.1,
) -> Dataset:
    """Spoken digits as on and off events of mel bands, uint8 `[N, T, 2 · bands]`.

    Equation: `L = max(0, floor_db + 10 log10(P / max P))`, P the mel band powers of Hann windows
    of 32 ms; then send-on-delta from silence with levels `threshold_db` apart, one event for any
    crossing: on events in channels `[0, bands)`, off events behind them. `floor_db` and
    `threshold_db` are those with which ridge regression on event counts classified digits best, on
    folds of recordings 5–49.

    Args:
        folder: where `fsdd_recordings.zip` lies.
        cache: converted arrays.
        seed: seed of the stratified validation split.
        steps: time steps T; shorter recordings end in silence, longer ones are truncated (7 % of
            them last longer than 0.64 s).
        bands: mel bands between 100 Hz and 4 kHz.
        hop_s: seconds between two windows, a time step.
        floor_db: range below the loudest band of the recording that counts as sound.
        threshold_db: distance of two levels.
        analog: float32 `[N, T, bands]`, `L / floor_db` in [0, 1], instead of events.
        holdout: `recordings` tests on recordings 0–4 of each digit and speaker, the official
            split; `speaker` on all recordings of one speaker, the hard split.
        speaker: speaker to test on with `holdout="speaker"`.
        validation: share of the training samples.

    Raises:
        ValueError: for damaged files or options out of range.
        FileNotFoundError: if the file is missing.

    Source: Jakobovski et al., 3,000 recordings, CC BY-SA 4.0; front end: O'Shaughnessy's mel scale.

    Example:
        >>> from jsnn.data import load
        >>> load("fsdd").train.frames.shape  # doctest: +SKIP
        (2430, 64, 64)
    """
    hop = _check_options(steps, bands, hop_s, floor_db, threshold_db)
    _check_holdout(holdout, speaker)
    (path,) = folder.fetch(ARCHIVE)
    key = {
        "version": 1,
        "source": ARCHIVE.checksum,
        "steps": steps,
        "bands": bands,
        "hop": hop,
        "floor_db": floor_db,
        "threshold_db": None if analog else threshold_db,
    }

    def build() -> dict[str, np.ndarray]:
        levels, labels, speakers, takes = _levels_of(path, steps, bands, hop, floor_db)
        frames = levels / np.float32(floor_db) if analog else level_crossings(levels, threshold_db)
        return {"frames": frames, "labels": labels, "speakers": speakers, "takes": takes}

    arrays = cache.arrays("fsdd", key, build)
    samples = Split(arrays["frames"], arrays["labels"])
    if holdout == "speaker":
        in_test = arrays["speakers"] == SPEAKERS.index(speaker)
    else:
        in_test = arrays["takes"] < TEST_RECORDINGS
    pool = samples[np.flatnonzero(~in_test)]
    train, held_out = hold_out(pool, validation, seed)
    return Dataset(
        "fsdd",
        train=train,
        validation=held_out,
        test=samples[np.flatnonzero(in_test)],
        classes=10,
        timed=True,
        dt_s=hop / RATE_HZ,
        source="Free Spoken Digit Dataset (Jakobovski et al., CC BY-SA 4.0)",
        notes=(
            f"Tested on speaker {speaker!r}, not heard in training; validation stratified out of "
            "the other speakers."
            if holdout == "speaker"
            else "Official test split (recordings 0-4); validation stratified out of train. The "
            "same speakers in all splits."
        ),
    )


def mel_filters(bands: int, bins: int = WINDOW // 2 + 1) -> np.ndarray:
    """Triangular filters, evenly spaced on the mel scale.

    Equation: `mel(f) = 2595 log10(1 + f / 700)`.

    Returns:
        `[bands, bins]` weights over the frequencies 0 … 4 kHz.

    Raises:
        ValueError: if a band is so narrow that no frequency falls into it.

    Example:
        >>> mel_filters(32).shape
        (32, 129)
    """
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (LOWEST_HZ, RATE_HZ / 2))
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    hertz = np.linspace(0, RATE_HZ / 2, bins)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (hertz - left) / (centre - left), (right - hertz) / (right - centre)
    filters = np.maximum(0, np.minimum(rising, falling))
    if not filters.any(axis=1).all():
        raise ValueError(f"{bands} mel bands are too many: some hold no frequency; take fewer")
    return filters


def log_mel(
    sound: np.ndarray, filters: np.ndarray, steps: int, hop: int, floor_db: float
) -> np.ndarray:
    """Levels of the mel bands above the noise floor, in dB: silence 0, the loudest floor_db.

    Args:
        sound: `[samples]` floats, not all zero.
        filters: `[bands, bins]`.
        steps: windows T; the sound is truncated or ends in silence.
        hop: samples between two windows.
        floor_db: range below the loudest band.

    Returns:
        `[T, bands]` float32.
    """
    padded = np.pad(sound, WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW))) ** 2 @ filters.T
    floor = power.max() * 10 ** (-floor_db / 10)
    levels = (10 * np.log10(np.maximum(power, floor) / floor))[:steps]
    return np.pad(levels, ((0, steps - len(levels)), (0, 0))).astype(np.float32)


def level_crossings(levels: np.ndarray, threshold_db: float) -> np.ndarray:
    """Send-on-delta from silence: as `jsnn.data.Delta`, with the reference starting at 0.

    Args:
        levels: `[N, T, bands]` in dB.
        threshold_db: distance of two levels.

    Returns:
        `[N, T, 2 · bands]` uint8 on and off events.

    Example:
        >>> level_crossings(np.array([[[7.0], [5.0], [0.0]]]), 6.0)[0]
        array([[1, 0],
               [0, 0],
               [0, 1]], dtype=uint8)
    """
    bands = levels.shape[-1]
    events = np.zeros((*levels.shape[:2], 2 * bands), np.uint8)
    reference = np.zeros_like(levels[:, 0])
    for step in range(levels.shape[1]):
        crossed = np.trunc((levels[:, step] - reference) / threshold_db)
        events[:, step, :bands] = crossed > 0
        events[:, step, bands:] = crossed < 0
        reference += crossed * threshold_db
    return events


def _levels_of(
    path: Path, steps: int, bands: int, hop: int, floor_db: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    filters = mel_filters(bands)
    levels, labels, speakers, takes = [], [], [], []
    for name, content in zip_members(path, ".wav"):
        match = NAME.fullmatch(name.rpartition("/")[2])
        if match is None or match[2] not in SPEAKERS:
            raise ValueError(f"{path}: expected <digit>_<speaker>_<take>.wav, found {name}")
        sound = read_wav(content, f"{path}, {name}")
        levels.append(log_mel(sound, filters, steps, hop, floor_db))
        labels.append(int(match[1]))
        speakers.append(SPEAKERS.index(match[2]))
        takes.append(int(match[3]))
    numbers = (np.array(column, np.int32) for column in (labels, speakers, takes))
    return (np.stack(levels), *numbers)


def read_wav(content: bytes, name: str) -> np.ndarray:
    """Decode a mono 8 kHz recording of 16 bits.

    Returns:
        `[samples]` float64 in [-1, 1).

    Raises:
        ValueError: naming the file, for another format, a truncated file or silence.
    """
    from scipy.io import wavfile

    # scipy only warns about a truncated file; bytes 4 to 8 hold the length behind them.
    declared = 8 + int.from_bytes(content[4:8], "little")
    if len(content) < declared:
        raise ValueError(
            f"{name}: not a readable wav file ({len(content)} of {declared} bytes: truncated)"
        )
    # Nor does it say that the chunk of sound is longer than the file.
    at, chunk = 12, b""
    while chunk != b"data" and at + 8 <= len(content):
        chunk, length = struct.unpack_from("<4sI", content, at)
        # Chunks begin at even offsets.
        at += 8 + length + length % 2
    if at - length % 2 > len(content):
        raise ValueError(
            f"{name}: not a readable wav file (chunk {chunk!r} ends at byte {at} of {len(content)})"
        )
    with decoding(name, "wav file"):
        rate, sound = wavfile.read(io.BytesIO(content))
    if rate != RATE_HZ or sound.ndim != 1 or sound.dtype != np.int16:
        raise ValueError(
            f"{name}: expected mono, {RATE_HZ} Hz, int16, found shape {sound.shape}, {rate} Hz, "
            f"{sound.dtype}"
        )
    if not sound.any():
        raise ValueError(f"{name}: expected sound, found {len(sound)} samples of silence")
    return sound / 2.0**15


def _check_options(
    steps: int, bands: int, hop_s: float, floor_db: float, threshold_db: float
) -> int:
    if steps < 1 or bands < 1:
        raise ValueError(f"expected steps and bands from 1 on, found steps={steps}, bands={bands}")
    hop = round(hop_s * RATE_HZ)
    if hop < 1:
        raise ValueError(f"expected hop_s of at least {1 / RATE_HZ} s, found {hop_s}")
    if not 0 < threshold_db < floor_db:
        raise ValueError(
            f"expected 0 < threshold_db < floor_db, found {threshold_db} and {floor_db}"
        )
    return hop


def _check_holdout(holdout: str, speaker: str | None) -> None:
    if holdout not in ("recordings", "speaker"):
        raise ValueError(f"expected holdout 'recordings' or 'speaker', found {holdout!r}")
    if holdout == "speaker" and speaker not in SPEAKERS:
        raise ValueError(f"expected a speaker of {', '.join(SPEAKERS)}, found {speaker!r}")
    if holdout == "recordings" and speaker is not None:
        raise ValueError(f"speaker={speaker!r} needs holdout='speaker'")

"""Interface of a library in the benchmark. Imports nothing, so that any interpreter can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Contestant(NamedTuple):
    """Calls that a worker times; each returns a float only once its work is done.

    Attributes:
        calls: by name: `step` (a training step), `forward` (loss only), `bare` (jsnn only: a step
            without energy term and records), `stream` (one frame, state kept between calls).
        info: facts for the report; may grow as calls are made.
    """

    calls: dict[str, Callable[[], float]]
    info: dict[str, Any]

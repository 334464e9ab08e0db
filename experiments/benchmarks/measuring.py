"""Parts shared by all benchmarks: timing in turns, spreads, machine description, file."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

import jsnn
from experiments.memory import KEEPING

FOLDER = "experiments/results/benchmarks"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
# Variables that set a library's threads and device, and the memory that `free` returns.
SWITCHES = ("XLA_FLAGS", "JAX_PLATFORMS", "OMP_NUM_THREADS", "GLIBC_TUNABLES", *KEEPING)

Rows = dict[str, list[float]]


def seconds(run: Callable[[], Any], count: int) -> float:
    """Wall time per call of `count` calls, until the last result."""
    started = time.perf_counter()
    for _ in range(count):
        result = run()
    jax.block_until_ready(result)
    return (time.perf_counter() - started) / count


def in_turns(timers: Mapping[str, Callable[[], float]], rounds: int) -> Rows:
    """Call every timer once a round, in order, so that drifts of the machine affect all.

    >>> in_turns({"one": lambda: 1.0, "two": lambda: 2.0}, rounds=2)
    {'one': [1.0, 1.0], 'two': [2.0, 2.0]}
    """
    rows = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            rows[name].append(timer())
    return rows


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'min': 1.0, 'max': 3.0}
    """
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(rows: Rows, over: str, under: str) -> dict[str, float]:
    """Spread of the ratio within each round.

    >>> ratio({"slow": [4.0, 9.0, 2.0], "fast": [2.0, 3.0, 1.0]}, "slow", "fast")
    {'median': 2.0, 'min': 2.0, 'max': 3.0}
    """
    return spread([a / b for a, b in zip(rows[over], rows[under], strict=True)])


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory, device and versions; no host names."""
    device = jax.devices()[0]
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "switches": {name: os.environ[name] for name in SWITCHES if name in os.environ},
        "versions": {"python": platform.python_version(), "jsnn": jsnn.__version__}
        | versions(PACKAGES),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of installed packages."""
    return {name: importlib.metadata.version(name) for name in packages}


def report(result: Mapping[str, Any], out: str) -> None:
    """Write a result with the machine it was measured on, and print it."""
    text = json.dumps({**result, "machine": machine()}, indent=2)
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    print(text)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())

"""Speed and memory of training in jsnn and in other libraries, on the same workloads.

    python -m experiments.benchmarks --json FILE                    # own plans
    python -m experiments.benchmarks --workload shd,stream --rounds 15
    python -m experiments.benchmarks --scaling                      # curves over T, width, ...
    python -m experiments.benchmarks --peers --peer-python spyx=PATH --peer-python snntorch=PATH
    python -m experiments.benchmarks --against FOLDER               # compared with another checkout

Every contestant has its own process and they are timed in turns, so that ratios within a round are
meaningful on a busy machine. A peer runs in this interpreter unless another is given; one that
cannot be run is reported with the reason. See `workloads.py` for what is computed.

On Linux jsnn's processes keep the memory that they free, as `experiments.train` does
(`experiments/memory.py`); with --peer-keep-memory the peers do too, with --no-keep-memory none
does.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.benchmarks import ours, workloads
from experiments.benchmarks.ceilings import ceilings, fractions
from experiments.benchmarks.contest import Entry, compete
from experiments.benchmarks.measuring import report
from experiments.benchmarks.peers import PEERS

# One size varies at a time, the others are those of the workload `shd`.
CURVES = {
    "steps": (25, 50, 100, 250, 500, 1000),
    "width": (32, 128, 512, 1024),
    "batch": (1, 8, 32, 128, 256),
    "layers": (1, 2, 4, 8),
}


def flags(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    everyone = tuple(Entry(*peer).label for peer in _peers())
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", metavar="FILE", help="where the figures go (default: nowhere)")
    parser.add_argument(
        "--workload",
        type=_names,
        default=workloads.NAMES,
        metavar="A,B",
        help=f"workloads of {', '.join(workloads.NAMES)} and onm<n> (default: all)",
    )
    parser.add_argument(
        "--plans",
        type=_names,
        default=("default",),
        metavar="A,B",
        help=f"own plans of {', '.join(ours.PLANS)}; the first is compared with (default: default)",
    )
    parser.add_argument("--rounds", type=_count, default=9, help="turns (default: 9)")
    parser.add_argument("--scaling", action="store_true", help="curves over sizes of shd instead")
    parser.add_argument(
        "--peers",
        type=_names,
        nargs="?",
        default=(),
        const=everyone,
        metavar="A,B",
        help=f"other libraries too: all, or some of {', '.join(everyone)}",
    )
    parser.add_argument(
        "--peer-python",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help=f"the interpreter that has this peer, of {', '.join(PEERS)}; repeatable",
    )
    parser.add_argument(
        "--against",
        type=_checkout,
        metavar="FOLDER",
        help="another git checkout of jsnn, whose plans are timed too and compared with",
    )
    parser.add_argument(
        "--keep-memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="own processes keep what they free (default: they do)",
    )
    parser.add_argument(
        "--peer-keep-memory",
        action="store_true",
        help="the peers' processes too (default: they run as they come)",
    )
    given = parser.parse_args(words)
    try:
        for name in given.workload:
            workloads.get(name)
        for plan in given.plans:
            ours.plans(plan)
        _check(given.peers, everyone, "--peers")
        _check([name for name, _ in given.peer_python], PEERS, "--peer-python")
    except ValueError as wrong:
        parser.error(str(wrong))
    return given


def entries(given: argparse.Namespace, workload: str) -> list[Entry]:
    """Own plans first, then the peers in their modes."""
    contestants = [Entry("jsnn", plan, keeps_memory=given.keep_memory) for plan in given.plans]
    if given.against:
        root, version = given.against
        contestants[:0] = [
            dataclasses.replace(entry, root=root, version=version) for entry in contestants
        ]
    pythons = dict(given.peer_python)
    for peer, mode in _peers():
        python = pythons.get(peer, sys.executable)
        entry = Entry(peer, mode, python, given.peer_keep_memory)
        if entry.label in given.peers and not (workload == "stream" and mode):
            contestants.append(entry)
    return contestants


def _peers() -> list[tuple[str, str]]:
    return [(peer, mode) for peer, modes in PEERS.items() for mode in modes]


def main(given: argparse.Namespace) -> dict[str, Any]:
    """Measure and print a line per figure; writes the file if one is named."""
    device = {"gpu": "cuda", "tpu": "tpu"}.get(jax.default_backend(), "cpu")
    top = ceilings()
    print(
        f"ceilings: {top['gemm_flop_per_s'] / 1e9:.0f} GFLOP/s float32 product, "
        f"{top['triad_byte_per_s'] / 1e9:.1f} GB/s triad"
    )
    result = {
        "command": " ".join(["python -m experiments.benchmarks", *_told(given)]),
        "rounds": given.rounds,
        "ceilings": top,
    }
    if given.scaling:
        result["scaling"] = {
            size: [_measured(given, "shd", {size: value}, top, device) for value in values]
            for size, values in CURVES.items()
        }
    else:
        result["workloads"] = {
            name: _measured(given, name, {}, top, device) for name in given.workload
        }
    if given.json:
        report(result, given.json)
    return result


def _measured(given, name: str, sizes: dict[str, int], top, device: str) -> dict[str, Any]:
    workload = workloads.get(name, **sizes)
    measured = compete(entries(given, name), name, given.rounds, sizes=sizes, device=device)
    for label, figures in measured["contestants"].items():
        for call in ("step", "forward", "stream"):
            if call not in figures:
                continue
            figure = figures[call]
            took_s = figure["seconds"]["median"]
            if call != "stream":
                figure |= fractions(workload, call, took_s, top)
            print(_line(name, sizes, label, call, figure, figures), flush=True)
    for label, why in measured["missing"].items():
        print(f"{name:8} {label:18} not measured: {why}", flush=True)
    return {"sizes": sizes, **measured}


def _line(name, sizes, label, call, figure, figures) -> str:
    scale, unit = (1e6, "us") if call == "stream" else (1e3, "ms")
    took, over = figure["seconds"], figure["over_reference"]
    took = {name: scale * value for name, value in took.items()}
    words = [
        f"{name:8} {label:18} {call:7}",
        " ".join(f"{size}={value}" for size, value in sizes.items()),
        f"{took['median']:9.2f} {unit} ({took['min']:.2f}-{took['max']:.2f})",
        f"x{over['median']:.2f} ({over['min']:.2f}-{over['max']:.2f})",
        f"first {figure['first_s']:.2f} s",
    ]
    if "of_roofline" in figure:
        words.append(f"gemm {figure['of_gemm']:.0%} roofline {figure['of_roofline']:.0%}")
    if call == "step":
        words.append(f"peak {figures['memory']['peak_mb']:.0f} MB")
        if "energy_term" in figures:
            info = figures["info"]
            words.append(f"energy term x{figures['energy_term']['median']:.3f}")
            words.append(f"temporaries {info['step_temporaries_mb']:.1f} MB")
    return "  ".join(word for word in words if word)


def _told(given: argparse.Namespace) -> list[str]:
    """Flags of a run without paths, with which another machine can repeat it."""
    words = [f"--workload {','.join(given.workload)}", f"--plans {','.join(given.plans)}"]
    words.append(f"--rounds {given.rounds}")
    words += ["--scaling"] if given.scaling else []
    words += [f"--against <checkout of {given.against[1]}>"] if given.against else []
    words += [f"--peers {','.join(given.peers)}"] if given.peers else []
    words += [] if given.keep_memory else ["--no-keep-memory"]
    words += ["--peer-keep-memory"] if given.peer_keep_memory else []
    return words


def _checkout(word: str) -> tuple[Path, str]:
    root = Path(word).resolve()
    asked = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise argparse.ArgumentTypeError(f"{word} is no git checkout: {error}") from error
    if not (root / "experiments/benchmarks/worker.py").exists():
        raise argparse.ArgumentTypeError(f"{word} has no experiments/benchmarks")
    return root, told.stdout.strip()


def _names(word: str) -> tuple[str, ...]:
    return tuple(word.split(","))


def _count(word: str) -> int:
    if int(word) < 1:
        raise argparse.ArgumentTypeError("expected at least one round")
    return int(word)


def _pair(word: str) -> tuple[str, str]:
    name, equals, path = word.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=PATH, got {word!r}")
    return name, path


def _check(names, valid, flag: str) -> None:
    unknown = set(names) - set(valid)
    if unknown:
        raise ValueError(f"{flag}: unknown {sorted(unknown)}; known are {sorted(valid)}")


if __name__ == "__main__":
    main(flags())

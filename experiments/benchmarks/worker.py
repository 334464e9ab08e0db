"""Process that loads one library and times its calls on request; runs in any interpreter.

    python -m experiments.benchmarks.worker '{"library": "norse", "mode": "", "workload": "shd",
                                              "sizes": {}, "device": "cpu"}'

Answers every line of standard input with a line of JSON: `{"call": "step", "count": 3}` gives the
seconds of three steps, `{"call": "memory", "of": "step"}` the peak of resident memory of one more.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path

from experiments.benchmarks import workloads


def serve(task: dict, lines, answer) -> None:
    """Build the contestant, report that, and answer until the lines end."""
    home = "experiments.benchmarks"
    started = time.perf_counter()
    if task["library"] == "jsnn":
        library = importlib.import_module(f"{home}.ours")
    else:
        library = importlib.import_module(f"{home}.peers.{task['library']}")
    imported = time.perf_counter() - started
    workload = workloads.get(task["workload"], **task["sizes"])
    contestant = library.make(workload, task["mode"], task["device"])
    answer({"ready": sorted(contestant.calls), "import_s": imported})
    for line in lines:
        asked = json.loads(line)
        if asked["call"] == "memory":
            answer(memory(contestant.calls[asked["of"]]))
        elif asked["call"] == "info":
            answer(contestant.info)
        else:
            answer(timed(contestant.calls[asked["call"]], asked["count"]))


def timed(call, count: int) -> dict:
    """Seconds of each of `count` calls, and what the last one returned."""
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        value = call()
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds, "value": value}


def memory(call) -> dict:
    """Peak resident memory: of the process so far and, on Linux, of one more call.

    The first holds the compiler's memory too.
    """
    reset = Path("/proc/self/clear_refs")
    if not os.access(reset, os.W_OK):
        return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    # On Linux ru_maxrss starts from that of the parent; VmHWM is this process's own.
    whole = _high_water_mb()
    reset.write_text("5")  # forgets the peak so far
    call()
    return {"peak_mb": whole, "call_peak_mb": _high_water_mb()}


def _high_water_mb() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
    return int(peak) / 1024


def main() -> None:
    # Libraries print to standard output; that goes to standard error, answers to the original.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    serve(json.loads(sys.argv[1]), sys.stdin, lambda answer: print(json.dumps(answer), file=out))


if __name__ == "__main__":
    main()

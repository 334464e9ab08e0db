"""Time of a map of 10,000 design points, energy ratios and break-evens, after compiling.

    python -m experiments.benchmarks.regime_map

The energy ratio SNN / QNN over a grid of time steps and rates, and the break-even rate over a grid
of time steps and fan-ins, by one vmap each. Writes
`experiments/results/benchmarks/regime_map.json`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from experiments.benchmarks.measuring import FOLDER, in_turns, report, seconds, spread
from experiments.config import option, parse
from jsnn import hardware
from jsnn.energy.breakeven import regime_map

MACHINES = ("neuromorphic-22nm", "classical-45nm", "event-45nm", "spatial-45nm")


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    side: int = option(100, "points along each of the two axes", least=2)
    rounds: int = option(9, "timed maps of each kind and machine", least=1)
    out: str = option(f"{FOLDER}/regime_map.json", "where the figures go")


def main(config: Config) -> dict:
    """Time maps of ratios and of break-evens in turns, and write the medians."""
    times = np.linspace(1, 64, config.side)
    ratios = {"steps": times, "rate": np.geomspace(1e-3, 1, config.side)}
    roots = {"steps": times, "fan_in": np.geomspace(16, 4096, config.side)}
    timers, first = {}, {}
    for name in MACHINES:
        machine = hardware.get(name)

        def ratio_map(machine=machine):
            return regime_map(machine, ratios, fan_in=512, neurons=512)

        def root_map(machine=machine):
            return regime_map(machine, roots, neurons=512, along="rate")

        for kind, run in (("ratios", ratio_map), ("break-evens", root_map)):
            first[name, kind] = seconds(run, 1)
            timers[name, kind] = lambda run=run: seconds(run, 1)
    rows = in_turns(timers, config.rounds)
    maps = {}
    for (name, kind), values in rows.items():
        here = {"first_s": first[name, kind], "seconds": spread(values)}
        maps.setdefault(name, {})[kind] = here
    result = {
        "command": "python -m experiments.benchmarks.regime_map",
        "what": "map of design points by vmap: ratio spikes / QNN, and break-even rates",
        "points": config.side**2,
        "machines": maps,
        "rounds": config.rounds,
    }
    report(result, config.out)
    return result


if __name__ == "__main__":
    main(Config(**parse(Config, None, __doc__)))

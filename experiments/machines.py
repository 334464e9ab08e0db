"""Design parameters that a run trains beside its network, and the resulting machine."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax

from experiments.summary import plain
from jsnn.codesign.hardware.design_parameters import DesignParameter, DesignParameters, Supply
from jsnn.codesign.hardware.rules import VOLTAGE, refusal, unopposed
from jsnn.codesign.hardware.trade import check_opposed
from jsnn.hardware import Hardware
from jsnn.hardware.toml import dump
from jsnn.train.levers import Pairs

BOUNDS = {
    "local_bytes": (256, 1024**2),
    "global_bytes": (4096, 16 * 1024**2),
    "pes": (8, 4096),
    "pe_state_bytes": (8, 512),
    "core_weight_bytes": (1024, 1024**2),
    "core_state_bytes": (128, 256 * 1024),
    "core_neurons": (8, 4096),
    "cores": (1, 4096),
    "targets_per_message": (1, 1024),
    "clock_hz": (20e6, 1e9),
    VOLTAGE: (0.55, 1.0),
    "weight_bits": (2, 8),
}
NONE, ALL = "none", "all"
DESIGN = "design.toml"


def chosen_parameters(
    words: str, machine: Hardware, terms: Collection[str] | None = None
) -> tuple[DesignParameter, ...]:
    """The design parameters that `--design-parameters` names.

    Args:
        words: `all`, or name=low:high,…
        machine: whose design parameters they are.
        terms: of `jsnn.codesign.hardware.rules.TERMS`; `all` leaves out parameters that they
            push one way only.

    Raises:
        ValueError: a pair that cannot be parsed.
    """
    if words == ALL:
        names = [name for name in BOUNDS if refusal(machine, name) is None]
        if terms is not None:
            names = [name for name in names if unopposed(name, terms) is None]
        return tuple(DesignParameter(name, *BOUNDS[name]) for name in names)
    chosen = []
    for word in words.split(","):
        name, _, span = word.partition("=")
        try:
            low, high = map(float, span.split(":"))
        except ValueError as error:
            raise ValueError(
                f"--design-parameters takes all, or name=low:high,…, got {word!r}"
            ) from error
        chosen.append(DesignParameter(name, low, high))
    return tuple(chosen)


def node_nm(hardware: str, asking: str) -> float:
    """The technology node in a machine's name; ValueError, naming the option, if there is none.

    >>> node_nm("spatial-45nm", "--area-budget")
    45.0
    """
    match = re.search(r"-(\d+)nm", hardware)
    if match is None:
        raise ValueError(
            f"{asking} needs a machine whose name says its node, as spatial-45nm; {hardware} does "
            "not"
        )
    return float(match[1])


def lever(config, machine: Hardware, limited: Collection[str]) -> DesignParameters | None:
    """The lever of a config; None where it names no design parameters.

    Args:
        config: of a run.
        machine: to start from.
        limited: what its budgets limit (`jsnn.train.budget.RESOURCES`).

    Raises:
        ValueError: design parameters that cannot be trained, or that the terms of the loss push
            one way only.
    """
    if config.design_parameters == NONE:
        return None
    terms = {"task", "capacity"} | {name.partition("_")[0] for name in limited}
    if config.energy_weight:
        terms.add("energy")
    supply = None
    if config.supply_v is not None:
        supply = Supply(node_nm(config.hardware, "--supply-v"), config.supply_v)
    parameters = chosen_parameters(config.design_parameters, machine, terms)
    if config.design_parameters == ALL:
        taken = ("weight_bits",) * (config.weight_bits is not None)
        taken += (VOLTAGE,) * (supply is None)
        parameters = tuple(parameter for parameter in parameters if parameter.name not in taken)
    elif config.weight_bits is not None and "weight_bits" in [
        parameter.name for parameter in parameters
    ]:
        raise ValueError(
            "--weight-bits and the design parameter weight_bits are one thing: leave one away"
        )
    if not parameters:
        raise ValueError(
            f"--design-parameters all: of {machine.name} nothing is pushed both ways by "
            f"{sorted(terms)}; limit "
            "more (--latency-budget, --area-budget) or take another --hardware"
        )
    # Limits apply to a machine that can be built; rounding up only at the end would break them.
    trained = DesignParameters(machine, parameters, supply, feasible=bool(limited))
    check_opposed(trained, terms)
    return trained


def written(lever: DesignParameters, leaves: Any, pairs: Pairs, path: Path) -> dict[str, Any]:
    """Write the machine that can be built to `design.toml`; its parameters, relaxed and feasible.

    Args:
        lever: of the run.
        leaves: of the lever.
        pairs: workload of a batch, on the machine before these design parameters.
        path: folder of the run.
    """
    relaxed, whole = (dataclasses.replace(lever, feasible=feasible) for feasible in (False, True))
    values, excess = whole.settled(leaves, pairs)
    machine = lever.machine(jax.device_get(values))
    machine = dataclasses.replace(machine, name=f"{machine.name}-codesigned")
    (path / DESIGN).write_text(dump(machine), encoding="utf-8")
    return {
        "machine": machine.name,
        "parameters": {
            "relaxed": plain(relaxed.settled(leaves, pairs)[0]),
            "feasible": plain(values),
        },
        "excess": plain(excess),
    }

"""Train a network and the machine it runs on together, and write the resulting machine.

    python -m experiments.codesign
    python -m experiments.codesign --how alternate --latency-weight 1 --out runs/machine
    python -m experiments.codesign --design-parameters local_bytes=1024:65536,voltage_v=0.55:1

Energy, latency and area of an inference are terms of the loss beside the task, each relative to its
value on the initial machine. Every few epochs the design is rounded to one that can be built, and
both are scored. At the end a search on the workload of the trained network looks for a better
design, and the better of the two feasible designs is written to `design.toml`, which every
`--hardware` option takes.
"""

from __future__ import annotations

import dataclasses
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments import build
from experiments.config import check, option, parse
from experiments.machines import chosen_parameters
from experiments.runconfig import Config, recipe_of
from experiments.summary import plain, versions
from jsnn.codesign.hardware.design_parameters import DesignParameters, Supply, squared
from jsnn.codesign.hardware.search import search
from jsnn.codesign.hardware.trade import Trade
from jsnn.energy import estimate_layers
from jsnn.hardware.toml import dump
from jsnn.nn import run as run_model
from jsnn.train.levers import LEVERS, NETWORK, Levered
from jsnn.train.losses import LOSSES, accuracy
from jsnn.train.objective import Objective, energy_terms
from jsnn.train.optimiser import LABELS, make_optimiser
from jsnn.train.run_folder import RunFolder
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_epoch


@dataclasses.dataclass(frozen=True)
class Flags:
    """Every option of the experiment."""

    hardware: str = option("spatial-45nm", "machine to start from")
    design_parameters: str = option("all", "what is trained: all that can be, or name=low:high,…")
    node_nm: float = option(45.0, "node of its technology", above=0)
    voltage: float = option(0.9, "supply that its constants are for, V", above=0)
    energy_weight: float = option(
        0.15, "weight of energy, latency and area beside the task", above=0
    )
    latency_weight: float = option(0.3, "weight of latency beside energy", least=0)
    area_weight: float = option(0.3, "weight of area beside energy", least=0)
    how: str = option(
        "joint", "joint: all in every step; alternate: network and design parameters in turns"
    )
    design_rate: float = option(
        5.0, "learning rate of the design parameters / that of the weights", above=0
    )
    dataset: str = option("digits", "name of the data set")
    widths: tuple[int, ...] = option((256, 256), "neurons of each hidden layer")
    epochs: int = option(60, "passes over the training samples", least=1)
    every: int = option(5, "epochs between two scores, and of a turn", least=1)
    search_steps: int = option(150, "steps of the search at the end", least=1)
    restarts: int = option(4, "starts of that search", least=1)
    limit: int | None = option(None, "use at most this many samples of each split", least=1)
    seed: int = option(0, "seed of weights and batches", least=0)
    out: str | None = option(None, "folder of the run; none: a new one below runs/")
    smoke: bool = option(False, "two epochs of a tiny network: does it run at all?")

    def __post_init__(self):
        check(self)
        if self.how not in ("joint", "alternate"):
            raise ValueError(f"--how must be joint or alternate, got {self.how!r}")


def main(flags: Flags) -> dict[str, Any]:
    """Train, score, search, write; returns the result."""
    started = time.perf_counter()
    console = Console(highlight=False, soft_wrap=True)

    # ---- data, network, machine, objective -------------------------------------------------------
    recipe = recipe_of({"dataset": flags.dataset}) | {
        "dataset": flags.dataset,
        "hardware": flags.hardware,
        "widths": flags.widths,
        "epochs": flags.epochs,
        "limit": flags.limit,
        "seed": flags.seed,
        "warmup_epochs": min(1.0, flags.epochs / 2),
    }
    config = Config(**recipe)
    build.check_names(config)
    data = build.dataset(config)
    machine = build.hardware(config, data)
    encoder = build.encoder(config, data)
    epoch_steps = len(data.train) // config.batch
    ramp_steps = int(config.energy_ramp * config.epochs * epoch_steps)
    trade = Trade(
        flags.latency_weight,
        flags.area_weight,
        flags.node_nm,
        weight=flags.energy_weight,
        ramp_steps=ramp_steps,
    )
    lever = DesignParameters(
        machine,
        chosen_parameters(flags.design_parameters, machine),
        Supply(flags.node_nm, flags.voltage),
    )
    model = Levered(build.network(config, data, encoder.input_kind), (lever,))
    terms = (*energy_terms(flags.energy_weight, ramp_steps=ramp_steps), trade)
    objective = Objective(LOSSES[config.task], machine, terms, levers=(lever,))
    folder = RunFolder.create(flags.out, "codesign", flags)

    # ---- what is trained in which turn -----------------------------------------------------------
    frozen = dict.fromkeys(LABELS, 0.0)
    turns = {
        "joint": [({}, flags.design_rate)],
        "alternate": [({}, 0.0), (frozen, flags.design_rate)],
    }[flags.how]
    optimisers = [
        make_optimiser(
            config.learning_rate,
            flags.epochs * epoch_steps,
            warmup=int(config.warmup_epochs * epoch_steps),
            schedule=config.schedule,
            weight_decay=config.weight_decay,
            scales=scales,
            levers={lever.name: rate},
        )
        for scales, rate in turns
    ]
    train = (data.train.frames, data.train.labels)
    shapes = encoder(jax.random.key(0), train[0][:1])
    state = init_state(model, optimisers[0], shapes, flags.seed)
    memory = [optimiser.init(state.params) for optimiser in optimisers]
    sample = np.random.default_rng(flags.seed).permutation(len(data.train))[:256]
    state, _ = start_terms(state, model, objective, encoder, train[0][sample])
    advance = [make_epoch(model, objective, transform, encoder) for transform in optimisers]
    scores = {
        "relaxed": _scorer(model, lever, trade, encoder),
        "feasible": _scorer(model, dataclasses.replace(lever, feasible=True), trade, encoder),
    }
    console.print(
        f"{flags.dataset} on {machine.name}: {', '.join(lever.names)} free; energy "
        f"+ {flags.latency_weight:g} latency + {flags.area_weight:g} area; {flags.how}"
    )

    # ---- the loop --------------------------------------------------------------------------------
    turn = 0
    for epoch in range(1, flags.epochs + 1):
        order = np.random.default_rng((flags.seed, epoch)).permutation(len(data.train))
        order = order[: epoch_steps * config.batch].reshape(epoch_steps, config.batch)
        state = dataclasses.replace(state, opt_state=memory[turn])
        state, terms = advance[turn](state, train, order)
        memory[turn] = state.opt_state
        if not bool(terms["finite"].all()):
            raise FloatingPointError(f"epoch {epoch}: the loss or a gradient is not finite")
        if epoch % flags.every and epoch < flags.epochs:
            continue
        row = {"epoch": epoch, "turn": turn}
        for name, score in scores.items():
            row[name] = plain(score(state.variables, *_arrays(data.validation)))
            console.print(f"epoch {epoch:3d}  {name:8s} {_line(row[name])}")
        folder.append(row)
        turn = (turn + 1) % len(turns)

    # ---- the design that comes out ---------------------------------------------------------------
    _, work = _forward(model, encoder, state.variables, train[0][sample])
    trained = row["feasible"]["values"]
    bits = {n: trained[n] for n in ("weight_bits",) if n in trained}
    others = tuple(k for k in lever.parameters if k.name not in bits)
    designs = {"trained": trained}
    if others:
        fixed = dataclasses.replace(lever, hardware=machine.with_design(**bits), parameters=others)
        best = search(
            fixed, trade, work, steps=flags.search_steps, restarts=flags.restarts, seed=flags.seed
        )
        designs["searched"] = {**bits, **plain(best.feasible)}
    on_sample = {
        name: float(trade.cost(lever.on(values, _on(work, machine)), _on(work, machine)))
        for name, values in designs.items()
    }
    chosen = min(on_sample, key=on_sample.get)
    design = lever.machine(designs[chosen])
    design = dataclasses.replace(design, name=f"{machine.name}-codesigned")
    (folder.path / "design.toml").write_text(dump(design), encoding="utf-8")

    # ---- test, once ------------------------------------------------------------------------------
    tested = {name: score(state.variables, *_arrays(data.test)) for name, score in scores.items()}
    rounded = _at_bits(lever, designs[chosen], state.variables)
    outputs, work = _forward(model.model, encoder, rounded, data.test.frames)
    final = estimate_layers(_on(work, design))
    before = estimate_layers(_on(work, machine))
    result = {
        "command": f"python -m experiments.codesign {' '.join(sys.argv[1:])}".strip(),
        "config": dataclasses.asdict(flags),
        "rows": folder.rows(),
        "cost_on_training_sample": on_sample,
        "chosen": chosen,
        "designs": designs,
        "test": {name: plain(score) for name, score in tested.items()},
        "final": {
            "accuracy": float(accuracy(outputs, data.test.labels).mean()),
            "energy_pj": float(final.total_pj().mean()),
            **plain(trade.figures(_on(work, design))),
        },
        "same_network_on_the_first_machine": {
            "energy_pj": float(before.total_pj().mean()),
            **plain(trade.figures(_on(work, machine))),
        },
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
        "platform": platform.platform(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    folder.write(folder.result, result)
    console.print(f"\n{before.mean()}\n\n{final.mean()}\n", markup=False)
    for name, values in designs.items():
        console.print(f"{name}: cost {on_sample[name]:.3f}: {_values(values)}")
    console.print(
        f"Chosen: {chosen}. Test accuracy {result['final']['accuracy']:.2%}, "
        f"{result['final']['energy_pj'] / 1e3:.1f} nJ; the same network on {machine.name}: "
        f"{result['same_network_on_the_first_machine']['energy_pj'] / 1e3:.1f} nJ."
    )
    console.print(f"{result['seconds']:.0f} s; everything is in {folder.path}")
    return result


def _forward(model, encoder, variables, samples):
    """Outputs and workload of samples, encoded with one fixed key."""
    return jax.jit(lambda v, s: run_model(model, v, encoder(jax.random.key(0), s)))(
        variables, samples
    )


def _scorer(model: Levered, lever: DesignParameters, trade: Trade, encoder):
    """Accuracy, figures and values of a network with its lever relaxed or feasible."""
    model = Levered(model.model, (lever,))

    @jax.jit
    def score(variables, samples, labels):
        outputs, work = run_model(model, variables, encoder(jax.random.key(0), samples))
        before = _on(work, lever.hardware)
        values, excess = lever.settled(variables["params"][LEVERS][lever.name], before)
        pairs = lever.on(values, before)
        return {
            "accuracy": accuracy(outputs, labels).mean(),
            "energy_pj": estimate_layers(pairs).total_pj().mean(),
            **trade.means(pairs),
            "cost": trade.cost(pairs, before),
            "excess": squared(excess),
            "values": values,
        }

    return score


def _at_bits(lever: DesignParameters, values, variables) -> dict[str, Any]:
    """Variables of the bare network, with weights rounded if the design has a weight width."""
    params = variables["params"]
    whole = dataclasses.replace(lever, feasible=True)
    leaves = {**params[LEVERS][lever.name]}
    return whole.network(leaves, {**variables, "params": params[NETWORK]})


def _on(work, machine):
    return [(layer, machine) for layer in work]


def _arrays(split):
    return jnp.asarray(split.frames), jnp.asarray(split.labels)


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {float(value):.5g}" for name, value in values.items())


def _line(score: dict[str, Any]) -> str:
    time_s, area = score.get("latency_s"), score.get("area_mm2")
    more = f"{time_s * 1e6:8.2f} us " if time_s is not None else ""
    more += f"{area:7.3f} mm2 " if area is not None else ""
    return (
        f"{score['accuracy']:6.1%} {score['energy_pj'] / 1e3:8.1f} nJ {more}cost "
        f"{score['cost']:.3f}  {_values(score['values'])}"
    )


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Call `main` with a command line."""
    given = parse(Flags, argv, __doc__)
    tiny = {"widths": (16,), "epochs": 2, "every": 1, "limit": 64, "search_steps": 5}
    return main(Flags(**(tiny | {"restarts": 1} if given.get("smoke") else {}) | given))


if __name__ == "__main__":
    try:
        run()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")

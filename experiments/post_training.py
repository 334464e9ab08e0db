"""Post-training compression of regularised networks: fewer bits, pruning, a shorter window.

    python -m experiments.post_training --regulariser l1-rate
    python -m experiments.post_training --dataset fashion-mnist --no-norm --points 1,2

The baseline that levers in the loss have to beat. Networks of several strengths and seeds are
trained; then weights are rounded to few bits, all but the largest of each layer are dropped, and
the window is truncated. For each of `--points` the combination with the lowest mean energy that
loses at most so many percentage points of mean validation accuracy is tested. Pruned networks are
priced as lists of weights or in full, whichever is less; states are priced at few bits without
being rounded, which favours this baseline. Figures go to `experiments/results/post_training/`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.compiled import keep_compiled
from experiments.config import check, option, parse
from experiments.summary import rounded, spread, versions
from experiments.swept import NONE, Numbers, Swept, task_config
from jsnn.codesign.early_exit import answers_by_step
from jsnn.codesign.pruning.masks import magnitude_mask, masked
from jsnn.codesign.pruning.sizes import listed
from jsnn.energy import estimate_energy, estimate_layers
from jsnn.nn import forward
from jsnn.train.json_files import keep
from jsnn.train.losses import accuracy
from jsnn.units import energy_text

# Accuracies are in float32.
TIE = 1e-6


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the experiment."""

    regulariser: str = option("energy", "name of the regulariser (`jsnn/train/regularisers.py`)")
    dataset: str = option("digits", "name of the data set")
    hardware: str | None = option(None, "machine of term and energy; none: of the recipe")
    slope: float = option(1.0, "factor on the slope of the surrogate", above=0)
    rate: float = option(1.0, "factor on the learning rate", above=0)
    strengths: tuple[float, ...] = option((0.1, 0.3, 1.0, 3.0), "weights of the regulariser")
    seeds: tuple[int, ...] = option((0, 1, 2, 3, 4), "seeds of each")
    bits: tuple[int, ...] = option((8, 4), "widths that weights are rounded to")
    state_bits: int = option(
        8, "width that states are priced at where weights are rounded", least=1
    )
    densities: tuple[float, ...] = option(
        (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1), "shares of the weights that are kept"
    )
    points: tuple[float, ...] = option(
        (1.0,), "points of mean validation accuracy that may be lost"
    )
    norm: bool | None = option(None, "batch norm of the currents; none: of the recipe")
    epochs: int | None = option(None, "passes over the training samples; none: of the recipe")
    limit: int | None = option(None, "use at most this many samples of each split", least=1)
    out: str = option("experiments/results/post_training", "folder of the results")

    def __post_init__(self):
        check(self)
        if self.regulariser == NONE:
            raise ValueError("--regulariser none is what the others are compared with: name one")
        for name in ("strengths", "seeds", "bits", "densities", "points"):
            if not getattr(self, name):
                raise ValueError(f"--{name} names nothing to try")
        if min(self.points) < 0:
            raise ValueError(f"--points must not be negative, got {self.points}")


def main(flags: Flags, command: str = "") -> dict[str, Any]:
    """Train, try every combination on validation, test the chosen one; writes the result."""
    started = time.perf_counter()
    options = ("hardware", "epochs", "limit", "norm")
    given = {n: v for n in options if (v := getattr(flags, n)) is not None}
    config = task_config({"dataset": flags.dataset, "refit": False, **given})
    if config.task == "every-step":
        raise ValueError(f"{flags.dataset} is decided in every step: there is no shorter window")
    swept = Swept(config, flags.regulariser)
    answered, judged = answers(swept), judge(swept, flags)
    free = _networks(Swept(config, NONE), flags, (0.0,))
    networks = _networks(swept, flags, flags.strengths)
    as_it_is = (max(flags.bits), 1.0, len(swept.shapes))

    def measured(params: dict, split: str, how: tuple) -> np.ndarray:
        """Accuracy and pJ, `[seeds, 2]`."""
        return np.array([judged(params[seed], split, how) for seed in flags.seeds])

    base = measured(free[0.0], "validation", as_it_is)[:, 0].mean()
    rows = []
    for strength, bits, density in itertools.product(flags.strengths, flags.bits, flags.densities):
        nets = [networks[strength][seed] for seed in flags.seeds]
        each = [answered(net, "validation", bits, density) for net in nets]
        right = np.mean(each, axis=0, dtype=np.float64)
        rows += [
            {"strength": strength, "how": (bits, density, steps), "accuracy": float(mean)}
            for steps, mean in enumerate(right, 1)
        ]

    def chosen(points: float) -> dict[str, Any]:
        """The cheapest combination that is accurate enough, tested."""
        enough = within(rows, base, points)
        priced = enough or [max(rows, key=lambda row: row["accuracy"])]
        print(f"{points} points: {len(enough)} of {len(rows)} are accurate enough", flush=True)
        for row in priced:
            if "pj" not in row:
                pj = measured(networks[row["strength"]], "validation", row["how"])[:, 1]
                row["pj"] = float(pj.mean())
        best = min(priced, key=lambda row: row["pj"])
        bits, density, steps = best["how"]
        return {
            "points": points,
            "strength": best["strength"],
            "weight_bits": bits,
            "density": density,
            "steps": steps,
            "validation_accuracy": best["accuracy"],
            "validation_pj": best["pj"],
            "accurate_enough": len(enough),
            "test_as_trained": _columns(measured(networks[best["strength"]], "test", as_it_is)),
            "test": _columns(measured(networks[best["strength"]], "test", best["how"])),
        }

    result = {
        "command": command,
        "flags": dataclasses.asdict(flags),
        "validation_accuracy_without": float(base),
        "test_without": _columns(measured(free[0.0], "test", as_it_is)),
        "chosen": [chosen(points) for points in flags.points],
        # All of them, so that other accuracies can be looked up; energies only where computed.
        "combinations": rows,
        "seconds": round(time.perf_counter() - started, 3),
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
    }
    keep(Path(flags.out) / f"{named(flags)}.json", result)
    print(describe(result), flush=True)
    return result


def named(flags: Flags) -> str:
    """Name of the result: data set, options, machine and regulariser of its networks.

    >>> named(Flags(regulariser="l1-rate", norm=False, slope=2))
    'digits-no-norm-l1-rate-slope-2'
    """
    words = [
        flags.dataset,
        {None: None, True: "norm", False: "no-norm"}[flags.norm],
        flags.hardware,
        flags.regulariser,
        None if flags.slope == 1 else f"slope-{flags.slope:g}",
        None if flags.rate == 1 else f"rate-{flags.rate:g}",
    ]
    return "-".join(filter(None, words))


def within(rows: list[dict[str, Any]], base: float, points: float) -> list[dict[str, Any]]:
    """Rows that lose at most `points` percentage points, exactly as many included.

    >>> within([{"accuracy": 0.89}, {"accuracy": 0.88}], 0.9, 1.0)
    [{'accuracy': 0.89}]
    """
    return [row for row in rows if row["accuracy"] >= base - points / 100 - TIE]


def describe(result: dict[str, Any]) -> str:
    """The result: a line for the network without a term, two for each choice."""
    rows = [("no term", result["test_without"])]
    for choice in result["chosen"]:
        term = f"{result['flags']['regulariser']} {choice['strength']}"
        cut = (
            f"{choice['weight_bits']} bits, {choice['density']:.0%} of the weights, "
            f"{choice['steps']} steps"
        )
        rows += [(term, choice["test_as_trained"]), (cut, choice["test"])]
    lines = []
    for said, measured in rows:
        (right, deviation), (pj, _) = measured["accuracy"], measured["pj"]
        lines.append(f"{said:>36}  {right:.2%} ± {100 * deviation:.2f}  {energy_text(pj):>9}")
    return "\n".join(lines)


def _networks(swept: Swept, flags: Flags, strengths: tuple[float, ...]) -> dict[float, dict]:
    """Trained variables by strength and seed."""
    states: dict[float, dict[int, Any]] = {strength: {} for strength in strengths}
    for strength, seed in itertools.product(strengths, flags.seeds):
        state, _, finite = swept.trained(Numbers(seed, flags.slope, flags.rate, strength))
        if not finite:
            raise FloatingPointError(
                f"strength {strength}, seed {seed}: the loss or a gradient is not finite; lower "
                "--rate"
            )
        states[strength][seed] = jax.device_get(state.variables)
        print(f"strength {strength:g}, seed {seed}: trained", flush=True)
    return states


def _cut(variables: dict, bits: int, density: float) -> dict:
    """Variables with only the largest weights of each layer, rounded."""
    params = masked(variables["params"], magnitude_mask(variables["params"], density))
    return {**variables, "params": rounded(params, bits)}


def answers(swept: Swept) -> Callable[..., np.ndarray]:
    """Function of variables, split, bits and density: accuracy after 1 to T steps, `[T]`."""

    @jax.jit
    def run(variables, samples, labels):
        outputs, _ = answers_by_step(
            swept.model, variables, swept.encoder(jax.random.key(0), samples)
        )
        return jax.vmap(lambda each: accuracy(each, labels).mean())(outputs)

    def answered(variables, split: str, bits: int, density: float) -> np.ndarray:
        part = getattr(swept.data, split)
        return np.asarray(run(_cut(variables, bits, density), part.frames, part.labels))

    return answered


def judge(swept: Swept, flags: Flags) -> Callable[..., tuple[float, float]]:
    """Function of variables, split and (bits, density, steps): mean accuracy and energy."""

    states = flags.state_bits if "state_bits" in swept.hardware.architecture.parameters else None

    def widths(bits):
        return {"weight_bits": bits} | ({} if states is None else {"state_bits": states})

    @functools.partial(jax.jit, static_argnums=(4, 5))
    def run(variables, samples, labels, bits, steps, lists):
        frames = swept.encoder(jax.random.key(0), samples)[:steps]
        passed = forward(swept.model, variables, frames)
        machine = swept.hardware.with_design(**widths(bits))
        pj = estimate_energy(passed.workload, machine).total_pj()
        if lists:
            pairs = []
            for layer in passed.workload:
                weights = variables["params"][layer.geometry.name]
                back = weights.get("recurrent")
                some = None if back is None else back != 0
                pairs.append((listed(layer, weights["synapse"]["kernel"] != 0, some), machine))
            pj = jnp.minimum(pj, estimate_layers(pairs).total_pj())
        return accuracy(passed.outputs, labels).mean(), pj.mean()

    if min(flags.densities) < 1 and not swept.hardware.skips_weights:
        raise ValueError(
            f"{swept.hardware.name} does not skip weights that are zero: --densities 1 there"
        )

    def judged(variables, split: str, how: tuple[int, float, int]) -> tuple[float, float]:
        part, (bits, density, steps) = getattr(swept.data, split), how
        given = _cut(variables, bits, density)
        width = jnp.float32(bits)
        answers = run(given, part.frames, part.labels, width, steps, density < 1)
        return tuple(map(float, answers))

    return judged


def _columns(answers: np.ndarray) -> dict[str, Any]:
    return {"accuracy": spread(answers[:, 0]), "pj": spread(answers[:, 1])}


if __name__ == "__main__":
    try:
        words = shlex.join(["python", "-m", "experiments.post_training", *sys.argv[1:]])
        chosen = Flags(**parse(Flags, description=__doc__))
        keep_compiled()
        main(chosen, words)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")

"""Early exit of a trained network: accuracy against mean energy, each sample stopped once sure.

    python -m experiments.early_exit RUN_FOLDER
    python -m experiments.early_exit RUN_FOLDER --rules gap,softmax --exit-loss 0.002

RUN_FOLDER is one of `experiments.train`. Every sample of validation and test runs once; early exit
at every threshold, each rule with the energy of its check, is compared with the same network
stopped after 1, 2, ... T steps. One threshold per rule is chosen on validation and reported on
test. JSON goes to RUN_FOLDER/early_exit.json unless --out says otherwise.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from experiments import build, windows
from experiments.config import check, option, parse
from experiments.energy_report import restored, stored
from experiments.summary import versions
from jsnn.codesign import early_exit


@dataclasses.dataclass(frozen=True)
class Flags:
    """Options of the experiment."""

    rules: str = option("gap,softmax,margin,entropy", "rules of early exit, a,b,c")
    exit_loss: float = option(0.0, "validation accuracy that may be lost", least=0, below=1)
    thresholds: int = option(40, "points of a curve", least=2)
    hardware: str | None = option(None, "machine; none: the run's own")
    limit: int | None = option(None, "use at most this many samples of each split", least=1)
    data_dir: str | None = option(None, "folder that holds the data; none: that of the run")
    dataset: str | None = option(None, "that of the run, repeated to import code that it names")
    model: str | None = option(None, "that of the run, repeated to import code that it names")
    out: str | None = option(None, "file of the JSON; none: early_exit.json in the run folder")

    def __post_init__(self):
        check(self)
        for rule in self.rules.split(","):
            build.lookup("rule", early_exit.RULES, rule)


def main(run: str, flags: Flags) -> dict[str, Any]:
    """Restore, run once, price every prefix, try every threshold; writes JSON."""
    console = Console(highlight=False, soft_wrap=True)
    folder, config = stored(run, flags)
    given = {"data_dir": flags.data_dir, "hardware": flags.hardware}
    config = dataclasses.replace(config, **{k: v for k, v in given.items() if v is not None})
    windows.check(dataclasses.replace(config, early_exit=flags.rules.split(",")[0]))
    data = build.dataset(config)
    if not len(data.validation):
        raise ValueError(f"{run} has no validation samples to choose a threshold by")
    variables, epoch = restored(folder, config, data)
    config = windows.settled(config, folder)
    machine, rules = build.hardware(config, data), tuple(flags.rules.split(","))
    network = build.as_run(config, data, machine, variables)

    answers = {}
    for number, name in enumerate(("validation", "test")):
        part = getattr(data, name)[: flags.limit]
        key = jax.random.key(config.seed + number)
        split = (part.frames, part.labels)
        answers[name] = windows.answers(network, machine, split, config.batch, key, rules)
    result = {
        "run": {"folder": str(folder.path), "epoch": epoch, "config": dataclasses.asdict(config)},
        "flags": dataclasses.asdict(flags),
        "hardware": machine.name,
        "samples": {name: len(part.labels) for name, part in answers.items()},
        "fixed": {name: windows.fixed(part) for name, part in answers.items()},
        "early_exit": {rule: _tried(answers, rule, flags) for rule in rules},
        "device": jax.devices()[0].device_kind,
        "versions": versions(),
    }
    for row in result["fixed"]["test"]:
        console.print(
            f"{row['steps']} steps: {100 * row['accuracy']:.2f} %, {row['pj'] / 1e3:.3f} nJ"
        )
    for rule in rules:
        for line in windows.describe({"early_exit": result["early_exit"][rule]["chosen"]}):
            console.print(line)
    out = Path(flags.out) if flags.out is not None else folder.path / "early_exit.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"everything is in {out}", markup=False)
    return result


def _tried(answers: dict[str, windows.Answers], rule: str, flags: Flags) -> dict[str, Any]:
    """The chosen threshold and the whole curve on test, its thresholds from validation."""
    confidence = early_exit.RULES[rule].confidence(answers["validation"].outputs)
    thresholds = early_exit.grid(confidence, flags.thresholds)
    chosen = windows.exits(answers["validation"], answers["test"], rule, flags.exit_loss)
    return {
        "chosen": chosen,
        "test": windows.rows(windows.curve(answers["test"], rule, thresholds)),
    }


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Call `main` with a command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    folder = words.pop(0) if words and not words[0].startswith("-") else None
    given = parse(Flags, words, __doc__)
    if folder is None:
        raise ValueError("expected the run folder of experiments.train as first word")
    return main(folder, Flags(**given))


if __name__ == "__main__":
    try:
        run()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")

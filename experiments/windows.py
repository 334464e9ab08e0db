"""Time window of a run: all steps, the first N, a learned number, or early exit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jsnn.codesign import early_exit
from jsnn.codesign.time_window import Window
from jsnn.hardware import Hardware
from jsnn.train.levers import Levered
from jsnn.train.run_folder import RunFolder

LEARNED = "learned"
# Readouts with an answer after every step, and how a learned window computes it.
READS = {"mean-membrane": "mean", "last-membrane": "last"}
# Measurements reported of a window beside its steps.
SHOWN = ("accuracy", "total_pj")
# Number of thresholds that are tried, beside infinity.
THRESHOLDS = 200


@dataclasses.dataclass(frozen=True)
class First:
    """An encoder that shows the first steps only.

    Attributes:
        encoder: encoder to frames `[T, B, ...]`.
        steps: number of frames that are shown.

    Raises:
        ValueError: on call, for frames of fewer steps.
    """

    encoder: Any
    steps: int

    @property
    def input_kind(self) -> str:
        """Input kind of the encoder."""
        return self.encoder.input_kind

    def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
        """Samples to frames `[steps, B, ...]`."""
        frames = self.encoder(key, batch)
        if len(frames) < self.steps:
            raise ValueError(
                f"--window {self.steps} is longer than the {len(frames)} steps of the data: make "
                "it shorter, or show more (--steps, --data-options)"
            )
        return frames[: self.steps]


def check(config) -> None:
    """Check the window and the early exit of a config, before any data is read.

    Raises:
        ValueError: naming the flag.
    """
    bounds = _read(config.window)
    if config.early_exit is not None and config.early_exit not in early_exit.RULES:
        raise ValueError(
            f"--early-exit must be none or one of {sorted(early_exit.RULES)}, got "
            f"{config.early_exit!r}"
        )
    asked = "--window" * bool(bounds) or "--early-exit" * (config.early_exit is not None)
    if asked and config.task == "every-step":
        raise ValueError(
            f"{asked} needs one answer a sample: the task every-step decides in every step"
        )
    if learned(config) and (config.task != "cross-entropy" or config.readout not in READS):
        raise ValueError(
            f"--window {config.window} needs --task cross-entropy and a --readout of "
            f"{', '.join(READS)}, got {config.task} and {config.readout}"
        )


def _read(word: str | None) -> int | tuple[int | None, int | None] | None:
    """None, a number of steps, or the bounds of a learned window (None: those of the frames)."""
    if word is None:
        return None
    low, colon, high = word.partition(":")
    if word == LEARNED:
        return None, None
    if not low.isdecimal() or (colon and not high.isdecimal()) or int(low) < 1:
        raise ValueError(
            f"--window must be none, learned, a number of steps or LOW:HIGH, got {word!r}"
        )
    if not colon:
        return int(low)
    Window(int(low), int(high))
    return int(low), int(high)


def learned(config) -> bool:
    """Whether the window is learned."""
    return isinstance(_read(config.window), tuple)


def shown(config, encoder: Any) -> Any:
    """The encoder of a config, truncated if the config sets a number of steps."""
    bounds = _read(config.window)
    return First(encoder, bounds) if isinstance(bounds, int) else encoder


def lever(config, encoder: Any, samples: np.ndarray) -> Window | None:
    """The learned window of a config, for samples `[B, ...]`; None if it has none.

    Raises:
        ValueError: it is longer than the frames, or they have only one step.
    """
    if not learned(config):
        return None
    bounds = _read(config.window)
    length = len(jax.eval_shape(encoder, jax.random.key(0), samples[:1]))
    low, high = bounds[0] or 1, bounds[1] or length
    if high > length:
        raise ValueError(
            f"--window {config.window} is longer than the {length} steps of the data: lower it, or "
            "show more (--steps, --data-options)"
        )
    return Window(low, high, reads=READS[config.readout])


class Chosen(NamedTuple):
    """Network as run after training: no window lever, whole steps.

    Attributes:
        model, variables: the network.
        encoder: encoder that shows that number of steps.
    """

    model: nn.Module | Levered
    variables: Mapping[str, Any]
    encoder: Any


def settled(config, folder: RunFolder):
    """The config of a finished run, with a learned window replaced by its final steps.

    Raises:
        FileNotFoundError: the run is not finished.
        ValueError: its result is damaged.
    """
    if not learned(config):
        return config
    if not folder.result.is_file():
        raise FileNotFoundError(
            f"{folder.result} is not there, so the run has not settled its window yet: --resume it"
        )
    return dataclasses.replace(config, window=str(folder.read(folder.result)["steps"]))


class Answers(NamedTuple):
    """Answers and energies after every step.

    Attributes:
        outputs: `[T, N, C]`.
        labels: `[N]`.
        pj: `[T, N]`, without the check of an early exit.
        checked_pj: `[T, N]` by rule, including its check in every step.
    """

    outputs: np.ndarray
    labels: np.ndarray
    pj: np.ndarray
    checked_pj: dict[str, np.ndarray]


def answers(
    network: Chosen,
    hardware: Hardware,
    data: tuple[np.ndarray, np.ndarray],
    batch: int,
    key: jax.Array,
    rules: tuple[str, ...],
) -> Answers:
    """Run a set once and price every prefix of every sample.

    Args:
        network: network to run.
        hardware: machine that it is priced on.
        data: frames `[N, ...]` and labels.
        batch: samples at a time.
        key: for the encoder, as `jsnn.train.evaluation.evaluate` takes it.
        rules: rules of early exit, whose checks are priced.
    """

    levers = getattr(network.model, "levers", ())

    @jax.jit
    def run(variables, frames, key):
        def estimates(workload):
            return early_exit.energy_by_step(workload, hardware, levers, variables["params"])

        frames = network.encoder(key, frames)
        outputs, workload = early_exit.answers_by_step(network.model, variables, frames)
        pj = estimates(workload)
        checked = {rule: estimates(early_exit.with_check(workload, rule)) for rule in rules}
        return outputs, pj, checked

    frames, labels = data
    parts = []
    for number, start in enumerate(range(0, len(frames), batch)):
        index = np.minimum(np.arange(start, start + batch), len(frames) - 1)
        piece = run(network.variables, frames[index], jax.random.fold_in(key, number))
        real = min(batch, len(frames) - start)
        parts.append(jax.tree.map(lambda part, n=real: np.asarray(part)[:, :n], piece))
    outputs, pj, checked = jax.tree.map(lambda *each: np.concatenate(each, 1), *parts)
    return Answers(outputs, np.asarray(labels), pj, checked)


def curve(answers: Answers, rule: str, thresholds: jax.Array) -> early_exit.TradeOff:
    """Accuracy against steps and energy over these thresholds, including the check."""
    pj = answers.checked_pj[rule]
    over = early_exit.trade_off(answers.outputs, answers.labels, pj, rule, thresholds)
    return jax.tree.map(np.asarray, over)


def exits(validation: Answers, test: Answers, rule: str, loss: float) -> dict[str, Any]:
    """Result on test of early exit by a threshold chosen on validation, as JSON."""
    thresholds = early_exit.grid(early_exit.RULES[rule].confidence(validation.outputs), THRESHOLDS)
    tried = curve(validation, rule, thresholds)
    number = early_exit.choose(tried, loss)
    on_test = curve(test, rule, thresholds[number : number + 1])
    whole = fixed(test)[-1]
    return {
        "rule": rule,
        "threshold": _finite(thresholds[number]),
        "validation": _row(tried, number),
        "test": _row(on_test, 0) | {"histogram": on_test.histogram[0].tolist()},
        "test_without": whole,
        "energy_saved": 1 - float(on_test.pj[0]) / whole["pj"],
        "unpriced": early_exit.RULES[rule].free or None,
    }


def fixed(answers: Answers) -> list[dict[str, float]]:
    """Accuracy and energy of the same network stopped after 1 to T steps, all samples alike."""
    right = (answers.outputs.argmax(-1) == answers.labels).mean(1)
    return [
        {"steps": number, "accuracy": float(accuracy), "pj": float(pj)}
        for number, (accuracy, pj) in enumerate(zip(right, answers.pj.mean(1), strict=True), 1)
    ]


def rows(trade: early_exit.TradeOff) -> list[dict[str, float | None]]:
    """A curve as JSON; an infinite threshold is None."""
    return [_row(trade, number) for number in range(len(trade.thresholds))]


def _row(trade: early_exit.TradeOff, number: int) -> dict[str, float | None]:
    return {
        "threshold": _finite(trade.thresholds[number]),
        "accuracy": float(trade.accuracy[number]),
        "steps": float(trade.steps[number]),
        "pj": float(trade.pj[number]),
    }


def _finite(threshold: Any) -> float | None:
    return float(threshold) if jnp.isfinite(threshold) else None


def describe(result: Mapping[str, Any]) -> list[str]:
    """A learned window and an early exit in words; no lines for a run with neither."""
    lines = []
    if "window" in result:
        relaxed, whole = result["window"]["relaxed"], result["window"]["whole"]
        lines.append(
            f"Window: {relaxed['steps']:.2f} steps while it was trained "
            f"({_percent(relaxed)}, {relaxed['total_pj'] / 1e3:.3g} nJ), run with "
            f"{whole['steps']} ({_percent(whole)}, {whole['total_pj'] / 1e3:.3g} nJ)"
        )
    if "early_exit" in result:
        exit_ = result["early_exit"]
        stopped, whole = exit_["test"], exit_["test_without"]
        beside = f", its {exit_['unpriced']} unpriced" if exit_["unpriced"] else ""
        lines.append(
            f"Early exit by {exit_['rule']}: {stopped['steps']:.2f} of {whole['steps']} steps, "
            f"{_percent(stopped)} instead of {_percent(whole)}, {stopped['pj'] / 1e3:.3g} nJ "
            f"instead of {whole['pj'] / 1e3:.3g} (check priced{beside})"
        )
    return lines


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['accuracy']:.2f} %"

"""Time plan and loop of a run, by rule or by option."""

from __future__ import annotations

from typing import NamedTuple

import jax

from jsnn.nn.time_plan import Choice, choose, kept_bytes, read
from jsnn.workload import Workload

LOOPS = ("epoch", "step", "host")
# Multiply-adds of a training step's forward pass below which a CPU is faster with an epoch in one
# call: at 118 million it took 0.71 of the time (0.13 on tiny networks), at 204 million 1.06.
SMALL_MACS = 150e6
# Share of an accelerator's memory that the whole training set may take.
SET_SHARE = 0.5


class Loop(NamedTuple):
    """Way in which batches are made and steps are called, and the reason.

    Attributes:
        kind: `epoch` (all steps of an epoch in one call, the set on the device), `step` (one call
            per step, the set on the device) or `host` (one call per step, each moving a batch).
        reason: in words.
    """

    kind: str
    reason: str


def window(word: str, workload: Workload, batch: int, norm: bool) -> Choice:
    """The plan of a word, or for `auto` that of the rule (`jsnn.nn.time_plan.choose`).

    Args:
        word: `auto`, `whole` or `chunked:STEPS`.
        workload: of any batch; shapes are enough.
        batch: samples of a step.
        norm: whether training takes batch statistics.
    """
    plan = read(word)
    if plan is not None:
        return Choice(plan, "as told")
    (steps,) = {layer.steps for layer in workload}
    return choose(steps, kept_bytes(workload, batch), chunkable=not norm)


def loop(
    word: str, workload: Workload, batch: int, set_bytes: int, platform: str, room: int | None
) -> Loop:
    """The loop of a word, or the rule's choice for `auto`.

    A set larger than its share of the device's memory stays on the host. Otherwise an epoch is one
    call, which saves the host's work for each step. XLA's CPU code is slower inside a scan: 1.3x
    for large matrices; convolutions of jsnn took 0.7 to 1.2 of the time, the weight gradients of
    XLA's own up to 10x. In these cases a CPU makes one call per step.

    Args:
        word: `auto`, or one of `LOOPS`.
        workload: of any batch; shapes are enough.
        batch: samples of a step.
        set_bytes: size of the training set.
        platform: of the device, as `cpu` or `gpu`.
        room: bytes of the device's memory; None where unknown, as for a CPU.

    Raises:
        ValueError: an unknown word.
    """
    if word != "auto":
        if word not in LOOPS:
            raise ValueError(f"loop must be auto or one of {', '.join(LOOPS)}, got {word!r}")
        return Loop(word, "as told")
    if room is not None and set_bytes > SET_SHARE * room:
        return Loop("host", f"the set takes {set_bytes / 2**30:.3g} GiB of {room / 2**30:.3g}")
    if platform != "cpu":
        return Loop("epoch", "the set fits the device")
    if any(layer.geometry.kind == "conv" for layer in workload):
        return Loop("step", "convolutions may be slower inside a scan on a CPU")
    macs = batch * sum(_macs(layer) for layer in workload)
    if macs > SMALL_MACS:
        return Loop("step", f"{macs / 1e6:.3g} million multiply-adds a step are no less in a scan")
    return Loop("epoch", f"{macs / 1e6:.3g} million multiply-adds a step")


def room_of(device: jax.Device) -> int | None:
    """Bytes of a device's memory; None if it does not report them."""
    return (device.memory_stats() or {}).get("bytes_limit")


def _macs(layer) -> int:
    """Multiply-adds of one sample, zeros included."""
    shown = 1 if layer.geometry.input_kind == "constant" else layer.steps
    return layer.geometry.synapses * shown + layer.geometry.recurrent_weights * layer.steps

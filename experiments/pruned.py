"""Pruned network of a run: exported, run once more and priced both ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jsnn.codesign.pruning.apply import AppliedPruning
from jsnn.codesign.pruning.compact import sparse, without
from jsnn.codesign.pruning.masks import nonzero, whole
from jsnn.codesign.pruning.pruning import UnitPruning, WeightPruning
from jsnn.codesign.pruning.sizes import listed
from jsnn.energy import estimate_layers
from jsnn.energy.audit import RecordedLayer
from jsnn.hardware import Hardware
from jsnn.hardware.architectures import Stepwise
from jsnn.nn import run
from jsnn.nn.event_counts import brought
from jsnn.nn.recording import record
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.levers import Lever, Pairs, deployed_as_run, price
from jsnn.workload import Workload

KINDS = {"units": UnitPruning, "weights": WeightPruning}


def lever(name: str, hardware: Hardware) -> Lever | None:
    """The lever that `--prune` names; None leaves the network as it is.

    Raises:
        ValueError: an unknown name, or weights on a machine that reads every one.
    """
    if name != "none" and name not in KINDS:
        raise ValueError(f"--prune must be one of {['none', *KINDS]}, got {name!r}")
    if name == "weights" and not hardware.skips_weights:
        raise ValueError(
            f"--prune weights: {hardware.name} does not skip weights that are zero, so none would "
            "go; take --prune units or another --hardware"
        )
    return KINDS[name]() if name in KINDS else None


def written_out(
    small: AppliedPruning,
    hardware: Hardware,
    frames: list[jax.Array],
    measure: Callable[[AppliedPruning], dict[str, float]],
    path: Path,
    prune: str,
) -> dict[str, Any]:
    """Export the pruned network below the run folder and measure it; an entry of the result.

    `dense_pj` is the energy with every stored weight read. Where the machine can skip zeros,
    `skipping_pj` is that of lists of the nonzero weights, each with its address. It is at most the
    energy in training: weights that few bits round to zero are left out too, and a machine that
    chooses its dataflow in every step does so.

    Args:
        small: the network.
        hardware: what it is priced on, before other levers.
        frames: the test samples in batches, `[T, B, ...]` each.
        measure: test accuracy and dense energy.
        path: folder of the run.
        prune: as for `lever`; for `weights`, lists of the remaining ones are stored.
    """
    model = small.model.model if small.levers else small.model
    variables = tree = jax.device_get(dict(deployed_as_run(small.levers, small.variables)))
    params = variables["params"]
    kept, entry = whole(params), {"prune": prune, "held": list(small.held)}
    if small.units:
        entry["units"] = {name: [int(m.sum()), m.size] for name, m in small.units.items()}
    if prune == "weights":
        kept = nonzero(params)
        lists = {
            name: {
                which: {"values": s.values, "indices": s.indices} for which, s in by_kind.items()
            }
            for name, by_kind in sparse(params, kept).items()
        }
        tree = {**variables, "params": without(params, kept), "lists": lists}
    kept = jax.device_get(kept)
    checkpoints = Checkpoints(path / "pruned")
    checkpoints.save(1, tree, entry)

    def on(workload: Workload) -> Pairs:
        return price(small.levers, small.variables["params"], workload, hardware)

    ran = jax.jit(lambda variables, frames: run(model, variables, frames)[1])
    work = ran(variables, frames[0])
    bits = {layer.geometry.name: _weight_bits(machine) for layer, machine in on(work)}
    stored = {name: list(by_kind.values()) for name, by_kind in sparse(params, kept).items()}
    masks = [mask for by_kind in kept.values() for mask in by_kind.values()]
    return {
        **entry,
        "density": {
            name: {which: float(mask.mean()) for which, mask in by_kind.items()}
            for name, by_kind in kept.items()
        },
        **measure(small),
        "skipping_pj": _skipping(model, variables, hardware, on, ran, kept, frames),
        "weights": sum(int(mask.sum()) for mask in masks),
        "weight_bytes_dense": sum(
            mask.size * bits[name] / 8
            for name, by_kind in kept.items()
            for mask in by_kind.values()
        ),
        "weight_bytes_lists": sum(
            tensor.bytes(bits[name]) for name, by_kind in stored.items() for tensor in by_kind
        ),
    }


def lines(entry: dict[str, Any] | None) -> list[str]:
    """The entry in words; no lines for a network that was not pruned."""
    if entry is None:
        return []
    text = [f"Pruned ({entry['prune']}), exported: test accuracy {entry['test_accuracy']:.4f}"]
    for name, (left, of) in entry.get("units", {}).items():
        text.append(f"  {name}: {left} of {of} units")
    if entry["prune"] == "weights":
        for name, shares in entry["density"].items():
            words = ", ".join(f"{which} {share:.1%}" for which, share in shares.items())
            text.append(f"  {name}: {words} of the weights")
    text += [f"  {name} would be empty: its best element was kept" for name in entry["held"]]
    text.append(f"  every stored weight walked: {entry['dense_pj'] / 1e3:.2f} nJ")
    if entry["skipping_pj"] is None:
        return [*text, "  zero weights skipped: this machine does not"]
    return [
        *text,
        f"  zero weights skipped: {entry['skipping_pj'] / 1e3:.2f} nJ",
    ]


def _skipping(model, variables, hardware, on, ran, kept, batches) -> float | None:
    if not hardware.skips_weights:
        return None

    @jax.jit
    def usage(workload, each):
        lists = []
        for (layer, machine), came in zip(on(workload), each, strict=True):
            masks = kept[layer.geometry.name]
            lists.append((listed(layer, masks["kernel"], masks.get("recurrent"), came), machine))
        return estimate_layers(lists).total_pj().sum()

    total, samples = 0.0, 0
    for frames in batches:
        workload = ran(variables, frames)
        each = [None] * len(workload)
        if isinstance(hardware.architecture, Stepwise):
            each = [_brought(seen) for seen in record(model, variables, frames)]
        total += float(usage(workload, each))
        samples += frames.shape[1]
    return total / samples


def _brought(seen: RecordedLayer) -> jax.Array:
    shown = seen.frames[:1] if seen.input_kind == "constant" else seen.frames
    return brought(shown, seen.input_kind, seen.input_unit)


def _weight_bits(machine: Hardware) -> float:
    return float(machine.design.weight_bits or 32)

"""What pruning left of a trained network: written out, run once more and billed both ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jsnn.checkpoint import Checkpoints
from jsnn.codesign.compact import compact, sparse, without
from jsnn.codesign.pruning import UnitPruning, WeightPruning, whole
from jsnn.codesign.sizes import listed, listed_exactly
from jsnn.energy import bill_layers
from jsnn.hardware import Hardware
from jsnn.levers import Lever, split
from jsnn.recording import record
from jsnn.run import run

LEVERS = {"none": None, "units": UnitPruning, "weights": WeightPruning}


def lever(name: str, hardware: Hardware) -> Lever | None:
    """The lever of this name; None leaves the network as it is.

    Raises:
        ValueError: an unknown name, or weights on a machine that walks every one.
    """
    if name not in LEVERS:
        raise ValueError(f"--prune must be one of {sorted(LEVERS)}, got {name!r}")
    if name == "weights" and not hardware.skips_weights:
        raise ValueError(
            f"--prune weights: {hardware.name} does not skip weights that are zero, so none would "
            "go; take --prune units or another --hardware"
        )
    kind = LEVERS[name]
    return None if kind is None else kind()


def plain(lever: Lever, variables: Any) -> dict[str, Any]:
    """Variables of the network as its lever lets it run, without the lever."""
    network, leaves = split(variables["params"])
    return {**variables, "params": lever.network(leaves[lever.name], network)}


def written_out(
    lever: Lever,
    model: Any,
    variables: Any,
    hardware: Hardware,
    frames: list[jax.Array],
    measure: Callable[[Any, Any], dict[str, float]],
    path: Path,
) -> dict[str, Any]:
    """Write the pruned network below the run folder and measure it; an entry of the result.

    `dense_pj` is the bill where every stored weight is walked. Where the machine can skip zeros,
    `skipping_pj` is that of lists of the weights that are not zero, each with its address, every
    input with the connections it keeps; `skipping_mean_pj`, which training goes by, gives each
    input the mean of its layer.

    Args:
        lever: how it was pruned.
        model: the network, without lever.
        variables: of the network with its lever.
        hardware: what it is billed on.
        frames: the test samples in batches, `[T, B, ...]` each.
        measure: test accuracy and dense bill of a model and its variables.
        path: folder of the run.
    """
    network, leaves = split(variables["params"])
    leaves, entry = leaves[lever.name], {"prune": lever.name}
    if isinstance(lever, UnitPruning):
        units = lever.kept(leaves)
        entry["units"] = {name: [int(mask.sum()), mask.size] for name, mask in units.items()}
        # Where the best element stays only because something must.
        entry["held"] = [name for name, scores in leaves.items() if not (scores > 0).any()]
        model, variables = compact(model, {**variables, "params": network}, units)
        kept, tree = whole(variables["params"]), variables
    else:
        kept, variables = lever.kept(leaves, network), plain(lever, variables)
        params = variables["params"]
        lists = {
            name: {which: {"values": s.values, "indices": s.indices} for which, s in found.items()}
            for name, found in sparse(params, kept).items()
        }
        tree = {**variables, "params": without(params, kept), "lists": lists}
        entry["held"] = [
            f"{name}/{which}"
            for name, masks in kept.items()
            for which, mask in masks.items()
            if mask.sum() == 1 < mask.size
        ]
    kept = jax.device_get(kept)
    with Checkpoints(path / "pruned") as checkpoints:
        checkpoints.save(1, tree, entry)
    bits = float(hardware.design.weight_bits or 32)
    stored = [s for found in sparse(variables["params"], kept).values() for s in found.values()]
    masks = [mask for found in kept.values() for mask in found.values()]
    return {
        **entry,
        "density": {
            name: {which: float(mask.mean()) for which, mask in found.items()}
            for name, found in kept.items()
        },
        **measure(model, variables),
        **_skipping(model, variables, hardware, kept, frames),
        "weights": sum(int(mask.sum()) for mask in masks),
        "weight_bytes_dense": sum(mask.size for mask in masks) * bits / 8,
        "weight_bytes_lists": sum(tensor.bytes(bits) for tensor in stored),
    }


def lines(entry: dict[str, Any] | None) -> list[str]:
    """The entry in words; nothing of a network that was not pruned."""
    if entry is None:
        return []
    found = [f"Pruned ({entry['prune']}), written out: test accuracy {entry['test_accuracy']:.4f}"]
    for name, (left, of) in entry.get("units", {}).items():
        found.append(f"  {name}: {left} of {of} units")
    if entry["prune"] == "weights":
        for name, shares in entry["density"].items():
            words = ", ".join(f"{which} {share:.1%}" for which, share in shares.items())
            found.append(f"  {name}: {words} of the weights")
    found += [f"  {name} would be empty: its best element was kept" for name in entry["held"]]
    found.append(f"  every stored weight walked: {entry['dense_pj'] / 1e3:.2f} nJ")
    if entry["skipping_pj"] is None:
        return [*found, "  zero weights skipped: this machine does not"]
    return [
        *found,
        f"  zero weights skipped: {entry['skipping_pj'] / 1e3:.2f} nJ (with the mean fan-out of "
        f"each layer {entry['skipping_mean_pj'] / 1e3:.2f} nJ)",
    ]


def _skipping(model, variables, hardware, kept, batches) -> dict[str, float | None]:
    if not hardware.skips_weights:
        return {"skipping_pj": None, "skipping_mean_pj": None}
    ran = jax.jit(lambda variables, frames: run(model, variables, frames)[1])
    sums, samples = np.zeros(2), 0
    for frames in batches:
        exact, mean = [], []
        recorded = record(model, variables, frames)
        for layer, shown in zip(ran(variables, frames), recorded, strict=True):
            masks = kept[layer.geometry.name]
            kernel, back = masks["kernel"], masks.get("recurrent")
            exact.append((listed_exactly(layer, shown, kernel, back), hardware))
            some = None if back is None else int(back.sum())
            mean.append((listed(layer, int(kernel.sum()), some), hardware))
        sums += [float(bill_layers(pairs).total_pj().sum()) for pairs in (exact, mean)]
        samples += frames.shape[1]
    exact_pj, mean_pj = sums / samples
    return {"skipping_pj": exact_pj, "skipping_mean_pj": mean_pj}

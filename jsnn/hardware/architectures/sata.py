"""Systolic array for training spiking networks after SATA, and what a training pass costs on it.

Counts of `RuokaiYin/SATA_Sim` (Yin et al., arXiv 2204.05422). For a layer of w weights, N neurons
and I inputs over T steps, all words of b = weight_bits bits, spikes packed b to a word, D, G, P a
word of DRAM, global buffer and scratchpad:

| event             | forward                                        | component           |
|-------------------|------------------------------------------------|---------------------|
| synop             | accumulate + and                               | synapse             |
| neuron-step       | add + compare + 2 mux + 3 registers + shift    | neuron              |
|                   | a membrane word: D + 2 G                       | state_memory        |
| step of spikes    | I / b words: D + 2 G + 2 P                     | activation_movement |
| inference         | w words: D + 2 G + 2 P                         | weight_memory       |

All of it scales with b / 16. The source has no more. Ours (DERIVED): neurons keep `state_words`
membrane words and pay for none without a state; a mac costs multiply + accumulate; a real-valued
frame moves I · input_bits / b words; a stored current is a word in the global buffer, written once
and read in each step; recurrent weights are weights and the spikes fed back synops, packed like
inputs. Biases and resets are in the price of a neuron-step, outputs are paid for where they arrive.

The published program has two errors. Dense layers ignore the sparsity of their input and overwrite
the accumulations counted so far, and the last layer (`out_linear`) is skipped. With
`published_bugs` the machine counts as the program does for one hidden dense layer behind any
convolutions, as in its example: accumulations of convolutions are lost, a dense layer pays every
connection in every step, a layer that never fires costs nothing. `training_counts` has the same
switch and follows the program for any network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from jsnn._pytree import is_concrete
from jsnn.hardware.actions import PriceTable
from jsnn.hardware.design import Design
from jsnn.hardware.technology import Technology
from jsnn.workload import Geometry, LayerWorkload

# Width at which the energies are published.
_WORD_BITS = 16
STAGES = ("forward", "backward", "update")


def operations_pj(technology: Technology) -> dict[str, Any]:
    """PJ of the composite operations at 16 bits.

    | name       | operation                                                  | stage    |
    |------------|------------------------------------------------------------|----------|
    | lif        | add + compare + 2 mux + 3 registers + shift                | forward  |
    | spike_mac  | accumulate + and                                           | forward  |
    | mac        | multiply + accumulate                                      | backward |
    | pgu        | multiply + 2 add + mux + 2 shift                           | backward |
    | update_mac | accumulate + and                                           | update   |

    >>> from jsnn.hardware import get
    >>> {k: round(v, 6) for k, v in operations_pj(get("sata").technology).items()}
    {'lif': 0.11255, 'spike_mac': 0.039694, 'mac': 0.2779, 'pgu': 0.27216, 'update_mac': 0.039694}
    """
    t = technology
    spike_mac = t["accumulate_pj"] + t["and_pj"]
    return {
        "lif": t["add_pj"]
        + t["compare_pj"]
        + 2 * t["mux_pj"]
        + 3 * t["register_pj"]
        + t["shift_pj"],
        "spike_mac": spike_mac,
        "mac": t["multiply_pj"] + t["accumulate_pj"],
        "pgu": t["multiply_pj"] + 2 * t["add_pj"] + t["mux_pj"] + 2 * t["shift_pj"],
        "update_mac": spike_mac,
    }


@dataclasses.dataclass(frozen=True)
class Sata:
    """Array, scratchpads, global buffer and DRAM (table above).

    Attributes:
        published_bugs: count as the published program does.

    Raises:
        ValueError: `published_bugs` is not a truth value.
    """

    published_bugs: bool = False
    name: ClassVar[str] = "sata"
    constants: ClassVar[tuple[str, ...]] = (
        "multiply_pj",
        "accumulate_pj",
        "add_pj",
        "and_pj",
        "compare_pj",
        "mux_pj",
        "register_pj",
        "shift_pj",
        "dram_pj",
        "sram_pj",
        "scratchpad_pj",
    )
    parameters: ClassVar[tuple[str, ...]] = ("weight_bits", "input_bits")
    unpriced: ClassVar[tuple[tuple[str, str], ...]] = (
        ("routing", "the array has no network, its registers are in the price of an operation"),
    )

    def __post_init__(self) -> None:
        if not isinstance(self.published_bugs, bool):
            raise ValueError(
                f"expected published_bugs to be true or false, found {self.published_bugs!r}"
            )

    def prices(
        self,
        technology: Technology,
        design: Design,
        geometry: Geometry,
        temperature: float = 0.0,
    ) -> tuple[PriceTable, ...]:
        """The table of the module as numbers."""
        g, bits = geometry, design.weight_bits
        if self.published_bugs and not g.spiking and not g.real:
            return ({},)
        scale = bits / _WORD_BITS
        dram, sram, pad = (scale * technology[f"{m}_pj"] for m in ("dram", "sram", "scratchpad"))
        operation = {name: scale * pj for name, pj in operations_pj(technology).items()}
        state, word = dram + 2 * sram, dram + 2 * sram + 2 * pad

        table = {
            "macs": {"synapse": operation["mac"]},
            "neuron_steps": {
                "neuron": operation["lif"] if g.ops.state_words else 0.0,
                "state_memory": g.ops.state_words * state,
            },
            "current_writes": {"state_memory": sram},
            "current_reads": {"state_memory": sram},
            "loads": {"weight_memory": (g.weights + g.recurrent_weights) * word},
            "frames": {"activation_movement": g.inputs * design.input_bits / bits * word},
        }
        fed_back = g.neurons if g.feeds_back else 0
        packed = (fed_back if g.real else fed_back + g.inputs) / bits * word
        table["steps"] = {"activation_movement": packed}
        if not self.published_bugs:
            table["synops"] = {"synapse": operation["spike_mac"]}
        elif g.kind != "conv":
            table["synapse_steps"] = {"synapse": operation["spike_mac"]}
        return (table,)


def training_counts(
    layers: Sequence[tuple[Geometry, Any]],
    steps: int,
    bits: Any,
    gradient_sparsity: Any,
    published_bugs: bool = False,
) -> dict[str, dict[str, Any]]:
    """Operations and words of one training sample, by stage, summed over the layers.

    With A the input positions of a convolution (1 for a dense layer; groups are not known to the
    source), s_g the gradient sparsity and M the accumulations of the forward pass:

    | stage    | operations                 | DRAM         | buffer             | scratchpad   |
    |----------|----------------------------|--------------|--------------------|--------------|
    | forward  | N·T lif, M spike_mac       | w + T(N+I/b) | 2w + 2T(N+I/b)     | 2(w + T·I/b) |
    | backward | N·T pgu, (1-s_g)·w·A·T mac | T(N+I/b)     | 7T·N + 2T·I/b + w  | w + T·N      |
    | update   | M update_mac               | 2w           | 2(1+T)w + T(N+I/b) | buffer + 2Tw |

    Args:
        layers: `(geometry, M)`, in order.
        steps: T.
        bits: width of words in the forward pass; so many spikes share a word in every stage.
        gradient_sparsity: share of zeros among the gradients of the membranes.
        published_bugs: as the published program: see the module. A dense layer sets the
            accumulations and gradient products of the whole network to all of its own connections
            in every step; a layer that never fires is skipped.

    Returns:
        `{stage: {operation or memory: number}}`; memories are `dram`, `sram`, `scratchpad`.

    Raises:
        ValueError: a sparsity outside [0, 1] or a width below one.

    >>> from jsnn.workload.analytic import dense
    >>> layer = dense(100, 10, steps=4, rate=0.1).geometry
    >>> counts = training_counts([(layer, 400.0)], steps=4, bits=8, gradient_sparsity=0.5)
    >>> counts["backward"]["mac"], counts["forward"]["dram"]
    (2000.0, 1090.0)
    """
    if is_concrete(gradient_sparsity) and not 0 <= gradient_sparsity <= 1:
        raise ValueError(f"expected 0 <= gradient_sparsity <= 1, found {gradient_sparsity}")
    if is_concrete(bits) and bits < 1:
        raise ValueError(f"expected words of at least one bit, found {bits}")
    totals = {
        "forward": dict.fromkeys(("lif", "spike_mac", "dram", "sram", "scratchpad"), 0.0),
        "backward": dict.fromkeys(("pgu", "mac", "dram", "sram", "scratchpad"), 0.0),
        "update": dict.fromkeys(("update_mac", "dram", "sram", "scratchpad"), 0.0),
    }
    for g, accumulations in layers:
        if published_bugs and not g.spiking:
            continue
        _add_layer(totals, g, accumulations, steps, bits, gradient_sparsity, published_bugs)
    return totals


def _add_layer(totals, g, accumulations, steps, bits, gradient_sparsity, published_bugs) -> None:
    w = g.weights + g.recurrent_weights
    packed = g.inputs / bits + (g.neurons / bits if g.feeds_back else 0)
    positions = g.inputs * g.fan_out_area // g.fan_in if g.kind == "conv" else 1
    products = (1 - gradient_sparsity) * w * positions * steps
    forward, backward, update = (totals[stage] for stage in STAGES)
    if published_bugs and g.kind != "conv":
        accumulations = products = w * steps
        forward["spike_mac"] = backward["mac"] = update["update_mac"] = 0.0
    forward["spike_mac"] += accumulations
    backward["mac"] += products
    update["update_mac"] += accumulations
    forward["lif"] += g.neurons * steps
    backward["pgu"] += g.neurons * steps

    words = w + (g.neurons + packed) * steps
    forward["dram"] += words
    forward["sram"] += 2 * words
    forward["scratchpad"] += 2 * (w + steps * packed)
    backward["dram"] += steps * (g.neurons + packed)
    backward["sram"] += 7 * steps * g.neurons + 2 * steps * packed + w
    backward["scratchpad"] += w + steps * g.neurons
    buffered = 2 * (1 + steps) * w + steps * (packed + g.neurons)
    update["dram"] += 2 * w
    update["sram"] += buffered
    update["scratchpad"] += buffered + 2 * steps * w


def training_pj(
    technology: Technology,
    layers: Sequence[LayerWorkload],
    bits: Any,
    gradient_sparsity: Any,
    published_bugs: bool = False,
) -> dict[str, Any]:
    """Energy of one training sample by stage, pJ, `[B]`: counts x prices.

    The forward stage scales with bits / 16, the others work at 16 bits. The layers must be fed by
    spikes and run for the same number of steps. Divided by the 0.2779 pJ of a `mac` this is the
    unit of the published program.

    Raises:
        ValueError: no layer, a layer with real-valued input, or layers of different T.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> layers = [dense(100, 50, steps=4, rate=0.1), dense(50, 10, steps=4, rate=0.1)]
    >>> energy = training_pj(get("sata").technology, layers, bits=8, gradient_sparsity=0.7)
    >>> bool(energy["update"][0] > energy["forward"][0])
    True
    """
    real = [layer.geometry.name for layer in layers if layer.geometry.real]
    lengths = {layer.steps for layer in layers}
    if real or len(lengths) != 1:
        raise ValueError(
            "expected layers fed by spikes, all of the same T; found real-valued input in "
            f"{real or 'none'} and T of {sorted(lengths) or 'no layer'}"
        )
    counts = training_counts(
        [(layer.geometry, layer.synops + layer.recurrent_synops) for layer in layers],
        lengths.pop(),
        bits,
        gradient_sparsity,
        published_bugs,
    )
    prices = operations_pj(technology)
    prices |= {m: technology[f"{m}_pj"] for m in ("dram", "sram", "scratchpad")}
    scales = {"forward": bits / _WORD_BITS, "backward": 1.0, "update": 1.0}
    return {
        stage: scales[stage] * sum(number * prices[what] for what, number in rows.items())
        for stage, rows in counts.items()
    }

"""Learned pruning of weights and units, against the energy estimate.

A decision is exactly 0 or 1 in the network and in the energy; only its derivative is soft. The
energy estimate during training is therefore that of the smaller network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jsnn._straight_through import straight_through
from jsnn.codesign.pruning.masks import KERNEL, RECURRENT, check_row, weights_of, with_weights
from jsnn.codesign.pruning.sizes import listed, narrowed
from jsnn.train.levers import Lever, Pairs
from jsnn.workload import Workload

__all__ = ["UnitPruning", "WeightPruning", "gate", "gated"]


@dataclasses.dataclass(frozen=True)
class UnitPruning(Lever):
    """A gate for each hidden neuron, or for each channel of a convolution.

    g_u = [score_u > 0],   d g_u / d score_u := d sigmoid(score_u / slope) / d score_u

    A closed gate sets the current of its unit to zero (weights, bias and, with a norm, its scale
    and shift), so that it never fires, and removes its neurons, weights, biases and messages from
    the energy: all sizes of the layer, and the inputs of the next, shrink with `Σ g`. The energy is
    exactly that of the network that `jsnn.codesign.pruning.compact` returns. At least one unit of a
    layer stays.

    For sequential networks (`MLP`, `SRNN`, `ConvNet`): each layer receives the units of the one
    before and nothing else. Initial scores are spread around `start`, so that a layer is not closed
    in one step.

    The straight-through gate is that of Bengio et al. 2013 (1308.3432); gates with a cost of their
    own are from Louizos et al. 2018 (1712.01312), whose sampled gates need a key in every step.

    Attributes:
        start: mean of the initial scores.
        spread: standard deviation of the initial scores.
        slope: width of the sigmoid.

    Raises:
        ValueError: a slope or a start that is not positive, a negative spread.

    >>> from jsnn.workload.analytic import dense
    >>> from jsnn.workload import Workload
    >>> lever = UnitPruning(spread=0.0)
    >>> hidden = dense(8, 4, steps=2, rate=0.5, name="a")
    >>> row = Workload((hidden, dense(4, 3, steps=2, rate=0.5, spiking=False, name="b")))
    >>> params = {name: {"synapse": {"kernel": 0}} for name in row.names}
    >>> lever.init(jax.random.key(0), {"params": params}, row)["a"].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    name: ClassVar[str] = "units"
    start: float = 1.0
    spread: float = 0.25
    slope: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "start", "slope")
        if not self.spread >= 0:
            raise ValueError(f"spread must not be negative, got {self.spread}")

    def init(self, key: jax.Array, variables: Any, workload: Workload) -> dict[str, jax.Array]:
        """`{layer: scores [channels]}` of every layer whose spikes go to another layer.

        Raises:
            ValueError: one layer only, a network that is not sequential, or sizes that do not match
                those of the layer before.
        """
        layers = list(workload)
        if len(layers) < 2:
            raise ValueError("expected a hidden layer whose units can be pruned, found none")
        for before, layer in zip([None, *layers[:-1]], layers, strict=True):
            check_row(layer.geometry.name, variables["params"])
            channels = None if before is None else before.geometry.output_shape[-1]
            narrowed(layer.geometry, channels, layer.geometry.output_shape[-1],
                     input_channels=channels)  # fmt: skip
        return {
            layer.geometry.name: self.start
            + self.spread
            * jax.random.normal(jax.random.fold_in(key, depth), layer.geometry.output_shape[-1:])
            for depth, layer in enumerate(layers[:-1])
        }

    def kept(self, leaves: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """`{layer: [channels]}` whether each unit stays."""
        return {name: gate(scores, self.slope)[0] > 0 for name, scores in leaves.items()}

    def network(self, leaves: Any, variables: Any) -> Any:
        """Variables under which closed units receive no current."""
        gates = {name: gate(scores, self.slope) for name, scores in leaves.items()}
        params = {
            name: _shut(layer, *gates[name]) if name in gates else layer
            for name, layer in variables["params"].items()
        }
        return {**variables, "params": params}

    def price(self, leaves: Any, params: Any, pairs: Pairs) -> Pairs:
        """Layers with the sizes that are left."""
        priced, before, channels = [], None, None
        for layer, hardware in pairs:
            scores = leaves.get(layer.geometry.name)
            left = None
            if scores is not None:
                left = gated(1.0, *gate(scores, self.slope)).sum()
            geometry = narrowed(layer.geometry, before, left, input_channels=channels)
            priced.append((dataclasses.replace(layer, geometry=geometry), hardware))
            before, channels = left, None if scores is None else scores.shape[0]
        return priced


@dataclasses.dataclass(frozen=True)
class WeightPruning(Lever):
    """A threshold for each layer, below which weights are zero.

    m_i = [|w_i| > θ],   θ = exp(leaf) · rms(w),   d m_i := d sigmoid((|w_i| - θ) / (slope · rms))

    The threshold is learned against the energy of a machine that stores and reads only the weights
    that are left (`Skipping`); on a machine that does not skip zeros, pruning saves nothing.
    Forward and recurrent weights have a threshold each, biases are not pruned. At least one weight
    of each tensor stays.

    Source: learned thresholds with the derivative of a sigmoid, Azarian et al. 2020 (2003.00075);
    here the loss is the energy estimate. Not together with `UnitPruning`: weights of closed units
    would be subtracted from the energy twice.

    Attributes:
        start: initial threshold, in units of the rms of the weights.
        slope: width of the sigmoid, in the same units.
        skipping: whether the energy is that of a machine that skips zeros; if not, thresholds get
            no gradient from the energy.

    Raises:
        ValueError: a start or a slope that is not positive.
    """

    name: ClassVar[str] = "weights"
    start: float = 0.05
    slope: float = 0.1
    skipping: bool = True

    def __post_init__(self) -> None:
        _positive(self, "start", "slope")

    def init(self, key: jax.Array, variables: Any, workload: Workload) -> dict[str, Any]:
        """`{layer: {"kernel": log θ, "recurrent": log θ}}` in units of the rms.

        Raises:
            ValueError: a layer whose weights are not stored under its name.
        """
        level, params = jnp.log(jnp.float32(self.start)), variables["params"]
        return {
            layer.geometry.name: {which: level for which in weights_of(params, layer.geometry.name)}
            for layer in workload
        }

    def kept(self, leaves: Any, params: Any) -> dict[str, dict[str, jax.Array]]:
        """Masks of the weights that stay, `{layer: {"kernel": mask, "recurrent": mask}}`."""
        return jax.tree.map(lambda pair: pair[0] > 0, self._gates(leaves, params), is_leaf=_pair)

    def network(self, leaves: Any, variables: Any) -> Any:
        """Variables with weights below their threshold set to zero."""
        params = variables["params"]
        pruned = dict(params)
        for name, gates in self._gates(leaves, params).items():
            weights = weights_of(params, name)
            thinned = {which: gated(weights[which], *pair) for which, pair in gates.items()}
            pruned[name] = with_weights(params[name], thinned)
        return {**variables, "params": pruned}

    def price(self, leaves: Any, params: Any, pairs: Pairs) -> Pairs:
        """Layers with the weights that are left, each with its address (`listed`).

        A machine that chooses its dataflow in every step is taken to choose once per window, which
        costs no less.

        Raises:
            ValueError: a machine that does not skip weights that are zero.
        """
        if not self.skipping:
            return pairs
        gates, priced = self._gates(leaves, params), []
        for layer, hardware in pairs:
            if not hardware.skips_weights:
                raise ValueError(
                    f"{hardware.name} does not skip weights that are zero: pruned weights save "
                    "nothing there. Prune units, take another machine, or skipping=False"
                )
            g = layer.geometry
            if not isinstance(g.weights, int):
                raise ValueError(
                    f"layer {g.name!r} has fewer units by another lever: their weights would be "
                    "taken away twice. Prune units or weights"
                )
            masks = {which: gated(1.0, *pair) for which, pair in gates[g.name].items()}
            priced.append((listed(layer, masks[KERNEL], masks.get(RECURRENT)), hardware))
        return priced

    def _gates(self, leaves: Any, params: Any) -> dict[str, dict[str, tuple]]:
        return {
            name: {
                which: self._gate(levels[which], weights)
                for which, weights in weights_of(params, name).items()
            }
            for name, levels in leaves.items()
        }

    def _gate(self, level: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        rms = jax.lax.stop_gradient(jnp.sqrt(jnp.square(weights).mean()))
        return gate((jnp.abs(weights) - jnp.exp(level) * rms) / rms, self.slope)


def gate(margins: jax.Array, slope: float) -> tuple[jax.Array, jax.Array]:
    """`1 if margin > 0 else 0`, and `sigmoid(margin / slope)`; the largest margin is always open.

    The first is used forward, the second for the gradient. A tensor always keeps its best element,
    so that no layer is pruned completely.

    Args:
        margins: of any shape, compared over all of it.
        slope: width of the sigmoid, in units of the margins.

    >>> hard, soft = gate(jnp.array([-2.0, 0.5]), slope=0.5)
    >>> hard.tolist(), round(float(soft[1]), 3)
    ([0.0, 1.0], 0.731)
    >>> gate(jnp.array([-2.0, -1.0]), slope=0.5)[0].tolist()
    [0.0, 1.0]
    """
    best = jnp.arange(margins.size).reshape(margins.shape) == margins.argmax()
    open_ = (margins > 0) | best
    return open_.astype(margins.dtype), jax.nn.sigmoid(margins / slope)


def gated(values: jax.Array | float, hard: jax.Array, soft: jax.Array) -> jax.Array:
    """`values · hard`, to the bit, with the derivative of `values · soft`.

    A closed gate thus passes a gradient, to its score and to its values.

    >>> def shut(w, s):
    ...     return gated(w, jnp.float32(0), s)
    >>> [float(g) for g in jax.grad(shut, (0, 1))(3.0, 0.25)]
    [0.25, 3.0]
    """
    return straight_through(values * hard, values * soft)


def _pair(node: Any) -> bool:
    return isinstance(node, tuple)


def _positive(lever: Lever, *names: str) -> None:
    for name in names:
        if not getattr(lever, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(lever, name)}")


def _shut(layer: Any, hard: jax.Array, soft: jax.Array) -> Any:
    """A layer whose closed units receive no current; units are the last axis of its leaves."""
    gated_layer = dict(layer)
    # A norm divides the sum of the synapse by its deviation, which must not be zero.
    last = "norm" if "norm" in layer else "synapse"
    gated_layer[last] = jax.tree.map(lambda leaf: gated(leaf, hard, soft), layer[last])
    if RECURRENT in layer:
        gated_layer[RECURRENT] = gated(layer[RECURRENT], hard, soft)
    return gated_layer

"""Bit widths as a lever: learned step sizes and widths of weights and states, by layer.

The network runs on the grids (`network`), and each layer is priced at its widths (`price`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jsnn.neurons.fixed import EXACT_BITS
from jsnn.nn.layers import CONSTANTS, constants_of
from jsnn.quantise import (
    bounded,
    grid_step,
    levels,
    lsq,
    lsq_gradient_scale,
    nearest_power_of_two,
    round_through,
    scale_gradient,
)
from jsnn.train.levers import Lever, Pairs
from jsnn.workload import Geometry, Workload

__all__ = ["Bits", "Width"]

# Name of the layer in a network that is a single unnamed layer (`jsnn.nn.layers.Spiking`).
_ALONE = "layer"

# Ranges that are tried for the start, as shares of the largest value.
_SHARES = tuple(share / 16 for share in range(1, 17))

# Initial range of membranes, in thresholds or standard deviations of a readout's current.
_ROOM = 4.0


@dataclasses.dataclass(frozen=True)
class Width:
    """Bits of a word: the initial number, and the bounds between which it is learned.

    Attributes:
        start: initial bits, within the bounds.
        least, most: bounds; if they are equal the width is fixed.

    Raises:
        ValueError: bounds below 2 (a signed grid of one bit holds no positive value) or above 24,
            bounds that cross, a start outside them.

    >>> Width(8, 2, 8).learned, Width.of(4)
    (True, Width(start=4, least=4, most=4))
    """

    start: float
    least: int
    most: int

    def __post_init__(self) -> None:
        if not 2 <= self.least or not self.most <= EXACT_BITS:
            raise ValueError(
                f"bits must lie in 2 to {EXACT_BITS}, got bounds {self.least} and {self.most}"
            )
        if not self.least <= self.most:
            raise ValueError(f"bounds of bits cross: least {self.least}, most {self.most}")
        if not self.least <= self.start <= self.most:
            raise ValueError(
                f"bits start within their bounds {self.least} to {self.most}, got {self.start}"
            )

    @classmethod
    def of(cls, width: int | Width) -> Width:
        """A `Width` unchanged; a number of bits as a fixed width."""
        return width if isinstance(width, Width) else cls(width, width, width)

    @property
    def learned(self) -> bool:
        """Whether the bounds differ."""
        return self.least < self.most

    def whole(self, leaf: jax.Array | None) -> jax.Array:
        """The bits that are run and priced: whole, within the bounds; straight-through gradient."""
        if not self.learned:
            return jnp.float32(self.start)
        return round_through(bounded(leaf, float(self.least), float(self.most)))


@dataclasses.dataclass(frozen=True)
class Bits(Lever):
    """Quantisation-aware training: weights and states on grids whose steps and bits are learned.

    weight grid: `s {-2^(b-1), ..., 2^(b-1) - 1}`, `s = top / (2^(b-1) - 1)`, `top = 2^leaf`

    The step is learned through its range. At fixed bits this is LSQ (the logarithm of a step moves
    with that of its range); with learned bits, one bit less doubles the step, so that the task loss
    gives each bit a gradient through the rounding it causes. Kernel and recurrent weights have a
    range each and share their bits. Decays are as wide as weights, biases as states, as in
    `jsnn.hardware.Design`.

    States are quantised where the populations are `jsnn.neurons.Fixed`; the gain of their current
    then moves into the weights, and the network that runs is one of integers
    (`jsnn.export.integer.export`).

    Leaves, by name of the layer: `kernel`, `recurrent`, `state` (log2 of ranges) and, if learned,
    `weight_bits`, `state_bits`.

    Attributes:
        weights: bits of weights and decays; a number is fixed, a `Width` learned.
        states: bits of membranes and biases; None leaves membranes in floating point.
        power_of_two: steps are rounded to powers of two, with straight-through gradients; states
            need it.

    Raises:
        ValueError: states without steps that are powers of two; widths whose products are not
            exact in float32 (24 bits).

    Source: Esser et al. 2020 (1902.08153); widths beside steps: Uhlich et al. 2020 (1905.11452).

    >>> from jsnn.train.levers import Levered
    >>> from jsnn.models import MLP
    >>> from jsnn.neurons import LI, LIF, Fixed
    >>> model = MLP((4,), 3, neuron=Fixed(LIF()), readout_neuron=Fixed(LI()))
    >>> model = Levered(model, (bits := Bits(Width(8, 2, 8), 8),))
    >>> variables = model.init(jax.random.key(0), jnp.ones((5, 2, 8)))
    >>> bits.widths(variables["params"]["levers"]["bits"])["readout"]
    {'weight_bits': 8, 'state_bits': 8}
    """

    weights: Width | int = 8
    states: Width | int | None = None
    power_of_two: bool = True

    name: ClassVar[str] = "bits"

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", Width.of(self.weights))
        if self.states is None:
            return
        object.__setattr__(self, "states", Width.of(self.states))
        if not self.power_of_two:
            raise ValueError("states are integers only where steps are powers of two: leave it on")
        if self.states.most - 1 + self.weights.most > EXACT_BITS:
            raise ValueError(
                f"membranes of {self.states.most} bits times decays of {self.weights.most} are "
                f"not exact in float32: keep their sum within {EXACT_BITS + 1}"
            )

    @property
    def lowers_spike_independent(self) -> bool:
        """Whether any width is learned."""
        return any(width is not None and width.learned for width in (self.weights, self.states))

    def init(self, key: jax.Array, variables: Mapping[str, Any], workload: Workload) -> Any:
        """Ranges of least squared error for weights, of a few thresholds for states."""

        def start(layer, constants, path):
            self._check(layer, constants, path)
            bits, leaves = float(self.weights.start), {}
            gain = self._gain(constants)
            for name, weights in _weights(layer).items():
                leaves[name] = jnp.log2(_best_top(weights * gain, bits))
            if self.weights.learned:
                leaves["weight_bits"] = jnp.float32(bits)
            if self.states is not None:
                leaves["state"] = jnp.log2(_first_range(layer, constants))
                if self.states.learned:
                    leaves["state_bits"] = jnp.float32(self.states.start)
            return leaves

        return _by_layer(start, variables["params"], constants_of(variables))

    def network(self, leaves: Any, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """Weights rounded to their grids; populations with the grids of their states."""
        params, constants = variables["params"], constants_of(variables)

        def weights(layer, constants, path):
            return self._on_grids(_at(leaves, path), layer, self._gain(constants))

        params = _by_layer(weights, params, constants)
        if self.states is None:
            return {**variables, "params": params}

        def told(layer, constants, path):
            return {"neuron": self._told(_at(leaves, path), constants)}

        return {**variables, "params": params, CONSTANTS: _by_layer(told, params, constants)}

    def price(self, leaves: Any, params: Any, pairs: Pairs) -> Pairs:
        """Each layer on the machine with its own widths.

        Raises:
            ValueError: learned bits on a machine without a design parameter for them, which would
                be free.
        """
        return [
            (layer, _with_bits(hardware, self._widths(_of(leaves, layer.geometry)), self))
            for layer, hardware in pairs
        ]

    def widths(self, leaves: Any) -> dict[str, dict[str, int]]:
        """Whole bits of each layer by name, for a report."""
        widths_by_layer = {}

        def walk(node, path):
            if any(isinstance(value, Mapping) for value in node.values()):
                for name, value in node.items():
                    walk(value, (*path, name))
                return
            widths = self._widths(node)
            widths_by_layer["/".join(path) or _ALONE] = {
                name: int(bits) for name, bits in widths.items()
            }

        walk(leaves, ())
        return widths_by_layer

    def _widths(self, leaves: Mapping[str, Any]) -> dict[str, jax.Array]:
        widths = {"weight_bits": self.weights.whole(leaves.get("weight_bits"))}
        if self.states is not None:
            widths["state_bits"] = self.states.whole(leaves.get("state_bits"))
        return widths

    def _on_grids(self, leaves: Mapping[str, Any], layer: Mapping[str, Any], gain: Any) -> Any:
        widths = self._widths(leaves)
        bits = widths["weight_bits"]
        new = {
            name: lsq(weights * gain, self._step(leaves[name], bits, jnp.size(weights)), bits)
            for name, weights in _weights(layer).items()
        }
        synapse = dict(layer.get("synapse", {}))
        if "kernel" in new:
            synapse["kernel"] = new.pop("kernel")
        if "bias" in synapse and self.states is not None:
            state_bits = widths["state_bits"]
            step = self._step(leaves["state"], state_bits, gain.size)
            synapse["bias"] = lsq(synapse["bias"] * gain, step, state_bits)
        if "synapse" in layer:
            new["synapse"] = synapse
        return {**layer, **new}

    def _told(self, leaves: Mapping[str, Any], constants: Mapping[str, Any]) -> dict[str, Any]:
        """Constants of a population with the grid of its states; the gain goes into the weights."""
        widths, size = self._widths(leaves), constants["gain"].size
        told = {
            "state_step": self._step(leaves["state"], widths["state_bits"], size),
            "state_bits": widths["state_bits"],
            "decay_bits": widths["weight_bits"],
            "gain": 1.0,
        }
        return {
            name: jnp.full(value.shape, told[name], value.dtype) if name in told else value
            for name, value in constants.items()
        }

    def _step(self, log2_top: jax.Array, bits: jax.Array, count: int) -> jax.Array:
        """The step of a range; its gradient is scaled as in LSQ.

        The gradient to the bits is not scaled, as the energy's gradient opposes it.
        """
        _, high = levels(bits)
        top = jnp.exp2(scale_gradient(log2_top, lsq_gradient_scale(count, bits)))
        step = grid_step(top, high)
        return nearest_power_of_two(step) if self.power_of_two else step

    def _gain(self, constants: Mapping[str, Any]) -> jax.Array:
        return jnp.ones(()) if self.states is None else constants["gain"]

    def _check(
        self, layer: Mapping[str, Any], constants: Mapping[str, Any], path: tuple[str, ...]
    ) -> None:
        name = "/".join(path) or _ALONE
        if "norm" in layer:
            raise ValueError(
                f"{name}: a normalisation has scales of its own, which no grid of weights holds; "
                "train without it, or fold it first (jsnn.export.folding.fold_norm)"
            )
        synapse = layer.get("synapse", {})
        unknown = (layer.keys() - {"neuron", "synapse", "recurrent"}) | (
            synapse.keys() - {"kernel", "bias"}
        )
        if unknown:
            raise ValueError(
                f"{name}: only kernel, bias and recurrent weights are quantised, "
                f"found {sorted(unknown)}"
            )
        fixed = "state_step" in constants
        if fixed != (self.states is not None):
            raise ValueError(
                f"{name}: states of bits need populations in fixed point and the other way round; "
                + ("give Bits its states" if fixed else "wrap them: jsnn.neurons.Fixed(neuron)")
            )


def _by_layer(
    function: Callable[[Mapping[str, Any], Mapping[str, Any], tuple[str, ...]], Any],
    params: Mapping[str, Any],
    constants: Mapping[str, Any],
    path: tuple[str, ...] = (),
) -> dict[str, Any]:
    """A tree of `function(parameters, constants, path)` of every layer.

    A layer is a subtree with constants of a `neuron`.
    """
    if "neuron" in constants:
        return function(params, constants["neuron"], path)
    if unknown := params.keys() - constants.keys():
        raise ValueError(
            f"{'/'.join((*path, min(unknown)))} belongs to no spiking layer, so nothing says what "
            "grid it should lie on; build the network from jsnn.nn.layers.Spiking"
        )
    return {
        name: _by_layer(function, params.get(name, {}), branch, (*path, name))
        for name, branch in constants.items()
    }


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _of(leaves: Any, geometry: Geometry) -> Mapping[str, Any]:
    """The leaves of a recorded layer, whose name is the path of its parameters."""
    # A layer used twice is recorded twice, under `name` and `name#2`.
    path = tuple(geometry.name.partition("#")[0].split("/"))
    if path == (_ALONE,) and _ALONE not in leaves:
        return leaves
    if geometry.kind == "product":
        # Stages share one layer.
        path = path[:-1]
    try:
        return _at(leaves, path)
    except (KeyError, TypeError):
        raise ValueError(
            f"layer {geometry.name!r} of the workload has no bits; there are {sorted(leaves)}"
        ) from None


def _weights(layer: Mapping[str, Any]) -> dict[str, jax.Array]:
    arrays = {"kernel": layer.get("synapse", {}).get("kernel"), "recurrent": layer.get("recurrent")}
    return {name: weights for name, weights in arrays.items() if weights is not None}


def _best_top(values: jax.Array, bits: float) -> jax.Array:
    """The range of least squared error among sixteen; 1 if all values are zero.

    The initial step of the paper, 2 mean|w| / sqrt(2^(b-1) - 1), gives a range of 18 standard
    deviations of a normal distribution at 8 bits.
    """
    top = jnp.max(jnp.abs(values))
    top = jnp.where(top > 0, top, 1.0)
    _, high = levels(bits)

    exponent = jnp.frexp(top)[1]

    def error(share):
        wrong = lsq(values, grid_step(share * top, high), bits) - values
        # In units of a power of two near the range: the square of 1e-36 is zero in float32.
        return jnp.square(jnp.ldexp(wrong, -exponent)).sum()

    shares = jnp.asarray(_SHARES)
    best = top * shares[jax.lax.map(error, shares).argmin()]
    # Its logarithm is trained, and that of zero is not finite.
    return jnp.maximum(best, jnp.finfo(best.dtype).tiny)


def _first_range(layer: Mapping[str, Any], constants: Mapping[str, Any]) -> jax.Array:
    if "v_threshold" in constants:
        return _ROOM * jnp.max(constants["v_threshold"])
    kernel = layer.get("synapse", {}).get("kernel")
    if kernel is None:
        return jnp.float32(_ROOM)
    # A leaky integrator settles at gain / (1 - a) times its current. As a is not known here, the
    # range starts at that of the current before its gain.
    columns = kernel.reshape(-1, kernel.shape[-1])
    return _ROOM * jnp.max(jnp.linalg.norm(columns, axis=0))


def _with_bits(hardware: Any, widths: dict[str, jax.Array], bits: Bits) -> Any:
    priced = {name: w for name, w in widths.items() if name in hardware.architecture.parameters}
    learned = {"weight_bits": bits.weights, "state_bits": bits.states}
    free = [name for name in widths if name not in priced and learned[name].learned]
    if free:
        raise ValueError(
            f"{hardware.name} has no design parameter {free}, so that learned bits would be free "
            "there: give "
            "them as numbers or take another machine"
        )
    return hardware.with_design(**priced)

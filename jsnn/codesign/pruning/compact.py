"""Compact forms of a pruned network: without closed units, or as a list of its weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jsnn.codesign.pruning.masks import KERNEL, RECURRENT
from jsnn.hardware.architectures.parts import address_bits
from jsnn.models import MLP, SRNN, ConvNet
from jsnn.neurons import in_force
from jsnn.nn.layers import CONSTANTS, constants_of
from jsnn.unroll import unroll

__all__ = ["Sparse", "compact", "row", "sparse", "with_widths", "without"]

# Number of steps for which a unit without input must not fire.
_SILENT_STEPS = 64


@functools.singledispatch
def row(model: nn.Module) -> tuple[str, ...]:
    """Names of the layers of a sequential model, in order.

    Register your own model here and with `with_widths` to make it compactable.

    Raises:
        TypeError: a model that is not registered as sequential.

    >>> row(MLP((4,), 3))
    ('hidden_0', 'readout')
    """
    kinds = sorted(cls.__name__ for cls in row.registry if cls is not object)
    raise TypeError(
        f"{type(model).__name__} is not known to be a row of layers; known are {kinds}. Register "
        "it with @jsnn.codesign.pruning.compact.row.register and with_widths.register"
    )


@row.register(MLP)
@row.register(SRNN)
def _(model) -> tuple[str, ...]:
    return (*(f"hidden_{depth}" for depth in range(len(model.widths))), "readout")


@row.register
def _(model: ConvNet) -> tuple[str, ...]:
    convolutions = (f"conv_{depth}" for depth in range(len(model.widths)))
    return (*convolutions, *(("hidden",) if model.hidden else ()), "readout")


@functools.singledispatch
def with_widths(model: nn.Module, widths: tuple[int, ...]) -> nn.Module:
    """The same model with hidden layers of these widths, in the order of `row`.

    >>> with_widths(ConvNet((4, 8), 10, hidden=16), (3, 5, 7)).widths
    (3, 5)
    """
    return model.clone(widths=tuple(widths))


@with_widths.register
def _(model: ConvNet, widths: tuple[int, ...]) -> nn.Module:
    *channels, hidden = widths if model.hidden else (*widths, 0)
    return model.clone(widths=tuple(channels), hidden=hidden)


def compact(
    model: nn.Module, variables: Mapping[str, Any], kept: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """The network without the units that are not kept: a smaller model and its variables.

    Its outputs for any frames are those of the network with closed gates, up to the order of sums.

    Args:
        model: a sequential model (`row`).
        variables: of the network, without gates (`params`, `constants`, `batch_stats`).
        kept: `{layer: [channels]}` (`UnitPruning.kept`); layers that are not listed stay whole.

    Raises:
        ValueError: a layer with no unit kept, an unknown layer, gates of another width, variables
            that are not parameters, constants or statistics, or neurons that fire without input:
            closing their gates does not silence them.
        TypeError: a model that is not registered as sequential.

    >>> model, frames = MLP((4,), 3), jnp.ones((5, 2, 8))
    >>> variables = model.init(jax.random.key(0), frames)
    >>> less, small = compact(model, variables, {"hidden_0": np.array([True, False, True, True])})
    >>> less.widths, small["params"]["readout"]["synapse"]["kernel"].shape
    ((3,), (3, 3))
    """
    names = row(model)
    if other := sorted(set(variables) - {"params", CONSTANTS, "batch_stats"}):
        raise ValueError(
            f"expected params, constants and batch_stats, found {other} too: drop them"
        )
    if unknown := sorted(set(kept) - set(names[:-1])):
        raise ValueError(f"no hidden layers {unknown}; the model has {list(names[:-1])}")
    masks = {name: np.asarray(mask, bool) for name, mask in kept.items()}
    # On the host: each slice of another shape would be compiled.
    variables = jax.device_get(variables)
    params, constants = variables["params"], constants_of(variables)
    widths = []
    for name in names[:-1]:
        channels = params[name]["synapse"][KERNEL].shape[-1]
        mask = masks.setdefault(name, np.ones(channels, bool))
        if mask.shape != (channels,):
            raise ValueError(f"{name}: expected {channels} gates, got shape {list(mask.shape)}")
        if not mask.any():
            raise ValueError(f"{name}: no unit is kept; a network needs one of each layer")
        leaves = in_force(model.neuron, constants[name]["neuron"], params[name].get("neuron", {}))
        _check_silent(model.neuron, name, _cut(leaves, None, ~mask))
        widths.append(int(mask.sum()))
    small = {}
    for collection, tree in variables.items():
        befores = (None, *names[:-1])
        small[collection] = {
            name: _cut(tree[name], masks.get(before), masks.get(name))
            for before, name in zip(befores, names, strict=True)
            if name in tree
        }
    return with_widths(model, tuple(widths)), jax.tree.map(jnp.asarray, small)


def _cut(tree: Any, inputs: np.ndarray | None, outputs: np.ndarray | None) -> Any:
    """Leaves of a layer (the last axis is that of units) for the inputs and outputs kept."""

    def cut(path, leaf):
        name = path[-1].key
        if inputs is not None and name == KERNEL:
            # In flattened images the channels are innermost.
            leaf = leaf[..., np.tile(inputs, leaf.shape[-2] // len(inputs)), :]
        if outputs is not None and name == RECURRENT:
            leaf = leaf[outputs]
        return leaf if outputs is None else leaf[..., outputs]

    return jax.tree_util.tree_map_with_path(cut, tree)


def _check_silent(neuron: Any, name: str, params: Any) -> None:
    """Raise ValueError if closed units with these parameters fire without any input."""
    count = jax.tree.leaves(params)[0].shape[-1]
    if not count:
        return
    if bool(_fires(neuron, params, count)):
        raise ValueError(
            f"{name}: neurons of {type(neuron).__name__} fire without input, so that closed gates "
            "do not silence them; raise their thresholds above their rest, or do not prune units"
        )


@functools.partial(jax.jit, static_argnums=(0, 2))
def _fires(neuron: Any, params: Any, count: int) -> jax.Array:
    nothing = jnp.zeros((_SILENT_STEPS, 1, count))
    return unroll(neuron, params, nothing, plan="scan")[1].any()


class Sparse(NamedTuple):
    """A tensor of which only some elements are stored.

    Attributes:
        values: `[n]`.
        indices: `[n]` positions in the flattened tensor, ascending, int32.
        shape: of the tensor.
    """

    values: jax.Array
    indices: jax.Array
    shape: tuple[int, ...]

    def dense(self) -> jax.Array:
        """The tensor, zeros filled in."""
        flat = jnp.zeros(math.prod(self.shape), self.values.dtype)
        return flat.at[self.indices].set(self.values).reshape(self.shape)

    @property
    def index_bits(self) -> int:
        """Width of an address in the list of one input: a kernel position and an output."""
        *taps, _, outputs = self.shape
        return address_bits(math.prod(taps) * outputs)

    def bytes(self, weight_bits: float) -> int:
        """Size of the values at `weight_bits` with their addresses, as in the energy estimate.

        >>> Sparse(jnp.ones(3), jnp.arange(3), (4, 4)).bytes(6)
        3
        """
        return math.ceil(self.values.size * (weight_bits + self.index_bits) / 8)


def sparse(params: Any, kept: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Sparse]]:
    """Weights that are left, `{layer: {"kernel": …, "recurrent": …}}`, without biases.

    Args:
        params: of the network.
        kept: masks (`WeightPruning.kept`, `magnitude_mask`).

    >>> params = {"a": {"synapse": {"kernel": jnp.array([[0.0, 2.0], [3.0, 0.0]])}}}
    >>> found = sparse(params, {"a": {"kernel": params["a"]["synapse"]["kernel"] != 0}})
    >>> found["a"]["kernel"].indices.tolist(), found["a"]["kernel"].values.tolist()
    ([1, 2], [2.0, 3.0])
    """
    matrices: dict[str, dict[str, Sparse]] = {}
    for name, masks in kept.items():
        layer = params[name]
        for which, mask in masks.items():
            tensor = np.asarray(
                layer[RECURRENT] if which == RECURRENT else layer["synapse"][KERNEL]
            )
            (indices,) = np.nonzero(np.asarray(mask).ravel())
            stored = Sparse(
                jnp.asarray(tensor.ravel()[indices]),
                jnp.asarray(indices, jnp.int32),
                tensor.shape,
            )
            matrices.setdefault(name, {})[which] = stored
    return matrices


def without(params: Any, kept: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Parameters without the tensors that have a mask, to be stored besides the lists of those.

    >>> without({"a": {"neuron": 1, "synapse": {"kernel": 2, "bias": 3}}}, {"a": {"kernel": None}})
    {'a': {'neuron': 1, 'synapse': {'bias': 3}}}
    """
    layers = {}
    for name, layer in params.items():
        listed = kept.get(name, {})
        rest = {part: tree for part, tree in layer.items() if part not in listed}
        synapse = {part: leaf for part, leaf in layer["synapse"].items() if part not in listed}
        layers[name] = {**rest, "synapse": synapse}
    return layers

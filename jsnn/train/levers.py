"""Levers: what is trained besides the weights, and its effect on the network and its energy.

outputs = lever_n.outputs(... model(lever_n.network(... variables)))
energy    = estimate_layers(lever_n.price(... [(layer, hardware)]))
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax

from jsnn.hardware import Hardware
from jsnn.nn import run
from jsnn.workload import LayerWorkload, Workload

__all__ = [
    "LEVERS",
    "NETWORK",
    "Lever",
    "Levered",
    "Pairs",
    "deployed",
    "deployed_as_run",
    "price",
    "split",
    "under",
    "without",
]

# Names under which the parameters of a levered network are stored.
NETWORK, LEVERS = "network", "levers"

# Each layer's workload, and the hardware that it runs on.
Pairs = list[tuple[LayerWorkload, Hardware]]


class Lever(abc.ABC):
    """Something trained besides the weights: bit widths, gates, design parameters of the hardware.

    A frozen dataclass of hyper-parameters. What is trained are its leaves, which `init` makes and
    the other methods are given. By default every method returns its input unchanged.

    Attributes:
        name: of its leaves among the parameters, and of their learning rate
            (`jsnn.train.optimiser.make_optimiser`).
    """

    name: ClassVar[str]

    @property
    def lowers_spike_independent(self) -> bool:
        """Whether training it may lower the spike-independent energy."""
        return True

    @abc.abstractmethod
    def init(self, key: jax.Array, variables: Mapping[str, Any], workload: Workload) -> Any:
        """Initial leaves, for a network of these variables with this workload."""

    def network(self, leaves: Any, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """The variables that the network runs with, `params` and `constants` among them."""
        return variables

    def outputs(self, leaves: Any, outputs: jax.Array) -> jax.Array:
        """The outputs of the readout under this lever."""
        return outputs

    def price(self, leaves: Any, params: Any, pairs: Pairs) -> Pairs:
        """The workload and the hardware that each layer is priced with, given the parameters."""
        return pairs


@dataclasses.dataclass(frozen=True)
class Levered:
    """A network with levers: takes the place of the module in `jsnn.run` and `jsnn.train.step`.

    Its parameters are `{"network": of the module, "levers": {name: leaves}}`; its other collections
    are those of the module. Levers act in the order given.

    Attributes:
        model: the network.
        levers: what is trained besides its weights.

    Raises:
        ValueError: no lever, or two of one name.

    >>> import jax.numpy as jnp
    >>> from jsnn.models import MLP
    >>> class Halved(Lever):
    ...     name = "share"
    ...     def init(self, key, variables, workload):
    ...         return jnp.float32(0.5)
    ...     def outputs(self, leaves, outputs):
    ...         return leaves * outputs
    >>> model, frames = MLP((4,), 3), jnp.ones((5, 2, 8))
    >>> levered = Levered(model, (Halved(),))
    >>> variables = levered.init(jax.random.key(0), frames)
    >>> half, _ = run(levered, variables, frames)
    >>> network = {**variables, "params": variables["params"]["network"]}
    >>> whole, _ = run(model, network, frames)
    >>> bool((half == whole / 2).all())
    True
    """

    model: nn.Module
    levers: tuple[Lever, ...]

    def __post_init__(self) -> None:
        names = [lever.name for lever in self.levers]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected levers of different names, at least one, found {names}")

    def init(self, key: jax.Array, frames: jax.Array) -> dict[str, Any]:
        """Variables of the network and leaves of the levers, for frames `[T, B, ...]`."""
        variables = dict(self.model.init(key, frames))
        _, workload = run(self.model, variables, frames)
        leaves = {
            lever.name: lever.init(jax.random.fold_in(key, number), variables, workload)
            for number, lever in enumerate(self.levers)
        }
        return {**variables, "params": {NETWORK: variables["params"], LEVERS: leaves}}

    def apply(self, variables: Mapping[str, Any], frames: jax.Array, *args: Any, **options: Any):
        """Apply the network, as `flax.linen.Module.apply`."""
        out = self.in_pieces.apply(variables, frames, *args, **options)
        if not options.get("mutable"):
            return self.finish(variables, out)
        return self.finish(variables, out[0]), *out[1:]

    def finish(self, variables: Mapping[str, Any], outputs: jax.Array) -> jax.Array:
        """The outputs of the whole window under the levers."""
        _, leaves = split(variables["params"])
        for lever in self.levers:
            outputs = lever.outputs(leaves[lever.name], outputs)
        return outputs

    @property
    def lever_names(self) -> tuple[str, ...]:
        """Names of the levers, which `jsnn.run` notes in the workload."""
        return tuple(lever.name for lever in self.levers)

    def network_params(self, params: Mapping[str, Any]) -> Any:
        """The parameters of the network, which its layers must account for."""
        return split(params)[0]

    @property
    def in_pieces(self) -> _InPieces:
        """The network under its levers for one piece of a window, before `finish`."""
        return _InPieces(self)


class _InPieces(NamedTuple):
    whole: Levered

    def apply(self, variables: Mapping[str, Any], frames: jax.Array, *args: Any, **options: Any):
        given = deployed(self.whole.levers, variables)
        return self.whole.model.apply(given, frames, *args, **options)


def split(params: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """Parameters of the network and leaves of the levers; ValueError where there are none.

    >>> split({"network": {"w": 1}, "levers": {"bits": 4}})
    ({'w': 1}, {'bits': 4})
    """
    if set(params) != {NETWORK, LEVERS}:
        raise ValueError(
            f"expected parameters {{{NETWORK!r}, {LEVERS!r}}} of a levered network, found "
            f"{sorted(params)}; make them with jsnn.train.levers.Levered"
        )
    return params[NETWORK], params[LEVERS]


def deployed(levers: Sequence[Lever], variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """The variables that the network itself runs with; without levers those given.

    Args:
        levers: of the network.
        variables: of a `Levered` network; without levers, of the network.
    """
    if not levers:
        return variables
    network, leaves = split(variables["params"])
    given = {**variables, "params": network}
    for lever in levers:
        given = lever.network(leaves[lever.name], given)
    return given


# Jitted as inside the network: outside of a program an exponential may round differently.
deployed_as_run = jax.jit(deployed, static_argnums=0)


def under(model: nn.Module, levers: Sequence[Lever]) -> nn.Module | Levered:
    """A network under levers; without levers the network itself.

    >>> from jsnn.models import MLP
    >>> under(MLP((4,), 3), ()).widths
    (4,)
    """
    return Levered(model, tuple(levers)) if levers else model


def without(params: Mapping[str, Any], name: str, network: Any = None) -> Any:
    """Parameters without those of one lever; of the network alone if it was the last.

    Args:
        params: of a `Levered` network.
        name: of the lever.
        network: parameters of the network from now on; None: those in `params`.

    Raises:
        ValueError: no lever of that name.

    >>> params = {"network": {"w": 1}, "levers": {"window": 2, "bits": 3}}
    >>> without(params, "window")
    {'network': {'w': 1}, 'levers': {'bits': 3}}
    >>> without(without(params, "window"), "bits", {"w": 4})
    {'w': 4}
    """
    before, leaves = split(params)
    if name not in leaves:
        raise ValueError(f"expected a lever {name!r}, found {sorted(leaves)}")
    rest = {other: leaf for other, leaf in leaves.items() if other != name}
    network = before if network is None else network
    return {NETWORK: network, LEVERS: rest} if rest else network


def price(levers: Sequence[Lever], params: Any, workload: Workload, hardware: Hardware) -> Pairs:
    """Each layer and its hardware under all levers in order, as `estimate_layers` takes them.

    Args:
        levers: those of the network; without any, every layer runs on `hardware` unchanged.
        params: of a `Levered` network; not read without levers.
        workload: of a batch.
        hardware: the machine before any lever.

    Raises:
        ValueError: other levers than those under which the network ran.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> work = Workload((dense(64, 32, steps=5, rate=0.05),))
    >>> len(price((), None, work, get("neuromorphic-22nm")))
    1
    """
    names = tuple(lever.name for lever in levers)
    if workload.levers and names != workload.levers:
        raise ValueError(
            f"expected the levers under which the network ran ({', '.join(workload.levers)}), "
            f"found {', '.join(names) or 'none'}"
        )
    pairs = [(layer, hardware) for layer in workload]
    if levers:
        network, leaves = split(params)
        for lever in levers:
            pairs = lever.price(leaves[lever.name], network, pairs)
    return pairs

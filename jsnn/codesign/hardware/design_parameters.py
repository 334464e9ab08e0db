"""Design parameters of the machine, trained with the weights between bounds.

value = low · (high / low)^s   or   low + (high - low) · s,   s = sigmoid(leaf)

Every priced value is within the limits that the machine itself sets
(`jsnn.codesign.hardware.limits`), and leaves beyond them are penalised (`DesignParameters.excess`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jsnn._straight_through import straight_through
from jsnn.codesign.hardware import limits
from jsnn.codesign.hardware.limits import Limited, Values
from jsnn.codesign.hardware.rules import RULES, VOLTAGE, nearest_feasible, refusal
from jsnn.hardware import Hardware
from jsnn.hardware.architectures import (
    CommittedNeuromorphic,
    CommittedSpatial,
    Neuromorphic,
    Spatial,
)
from jsnn.hardware.design import BOUNDS
from jsnn.hardware.scaling import delay_factor, energy_factor, logic_at
from jsnn.quantise import grid_step, in_steps
from jsnn.train.levers import Lever, Pairs
from jsnn.train.optimiser import label_params
from jsnn.workload import Workload

__all__ = ["DesignParameter", "DesignParameters", "Supply", "committed", "round_weights", "squared"]

# Least distance of a leaf from a bound at the start: at the bound itself it could not move.
INSIDE = 0.01
# Distance within which a value counts as one that can be built: rounding of float32 must not decide
# whether a tensor fits.
NEAR = 1e-5


@dataclasses.dataclass(frozen=True)
class DesignParameter:
    """A design parameter and the bounds between which it is trained.

    Attributes:
        name: of the design parameter (`jsnn.hardware.Design`), or `voltage_v`.
        low, high: bounds.
        per_layer: whether each layer has its own value; the machine must support that.

    Raises:
        ValueError: bounds that cross, leave those of the design or have no value that can be built
            between them; `per_layer` where a machine has one value only.

    >>> DesignParameter("local_bytes", 1024, 65536)
    DesignParameter(name='local_bytes', low=1024, high=65536, per_layer=False)
    """

    name: str
    low: float
    high: float
    per_layer: bool = False

    def __post_init__(self) -> None:
        least, most = BOUNDS.get(self.name, (0.0, math.inf))
        if not least <= self.low < self.high <= most or self.high == math.inf:
            raise ValueError(
                f"expected {least} <= low < high <= {most} of {self.name}, finite, found "
                f"{self.low} and {self.high}"
            )
        if self.name not in RULES:
            return
        if RULES[self.name].log and not self.low > 0:
            raise ValueError(f"{self.name} is trained by its logarithm: low must be above 0")
        if self.per_layer and not RULES[self.name].per_layer:
            able = [name for name, rule in RULES.items() if rule.per_layer]
            raise ValueError(
                f"a machine has one {self.name} for all layers; layers may have {able}"
            )
        nearest_feasible(self.name, self.low, self.low, self.high)

    def at(self, share: Any) -> Any:
        """The value at a share of the range from low to high."""
        if RULES[self.name].log:
            return self.low * jnp.exp(math.log(self.high / self.low) * share)
        return self.low + (self.high - self.low) * share

    def share(self, value: Any) -> Any:
        """The share of the range at which a value lies."""
        if RULES[self.name].log:
            return jnp.log(jnp.asarray(value) / self.low) / math.log(self.high / self.low)
        return (jnp.asarray(value) - self.low) / (self.high - self.low)


@dataclasses.dataclass(frozen=True)
class Supply:
    """The supply voltage of a machine's constants; its clock is the fastest at that voltage.

    Attributes:
        node_nm: technology node, 7 to 180.
        voltage_v: supply voltage.
        process: `high-performance` or `low-power`.

    Raises:
        ValueError: values that `jsnn.hardware.scaling` does not cover.

    >>> float(Supply(45, 0.9).slowdown(0.6))
    4.005
    """

    node_nm: float
    voltage_v: float
    process: str = "high-performance"

    def __post_init__(self) -> None:
        energy_factor(self.node_nm, self.voltage_v, self.process)

    def slowdown(self, voltage_v: Any) -> Any:
        """Delay of logic at another voltage relative to that at this one (Stillmaker and Baas)."""
        to, by = (delay_factor(self.node_nm, v, self.process) for v in (voltage_v, self.voltage_v))
        return to / by


@dataclasses.dataclass(frozen=True)
class DesignParameters(Lever):
    """Trained design parameters of one machine (table in `jsnn.codesign.hardware.rules`).

    Only design parameters that something opposes are accepted. With `weight_bits` among them the
    network runs with weights rounded to that width, so that the task opposes it.

    Attributes:
        hardware: the machine; its own values are the initial ones.
        parameters: those that are trained, with their bounds.
        supply: of the machine; required by `voltage_v`.
        opposed: bits that another lever or a term of the loss opposes.
        feasible: whether values are rounded to those that can be built when the network is scored;
            the gradient is then taken at the rounded values, straight through.

    Raises:
        ValueError: no design parameter, one named twice, one that the machine lacks or that nothing
            opposes, a start outside the bounds, a voltage without a supply or beyond its model.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> machine = get("spatial-45nm")
    >>> trained = DesignParameter("local_bytes", 1024, 65536), DesignParameter("pes", 16, 4096)
    >>> lever = DesignParameters(machine, trained)
    >>> leaves = lever.init(jax.random.key(0), {}, Workload((dense(64, 32, steps=4, rate=0.1),)))
    >>> {name: float(value) for name, value in lever.values(leaves).items()}
    {'local_bytes': 8192.0, 'pes': 256.0}
    """

    hardware: Hardware = dataclasses.field(hash=False)
    parameters: tuple[DesignParameter, ...]
    supply: Supply | None = None
    opposed: tuple[str, ...] = ()
    feasible: bool = False
    name: ClassVar[str] = "design"

    def __post_init__(self) -> None:
        names = [parameter.name for parameter in self.parameters]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"expected design parameters of different names, at least one, found {names}"
            )
        for parameter in self.parameters:
            self._check(parameter)

    def _check(self, parameter: DesignParameter) -> None:
        machine, name = self.hardware, parameter.name
        reason = refusal(machine, name)
        if reason and not (name in self.opposed and name in RULES):
            raise ValueError(f"{machine.name}: {name} cannot be trained: {reason}")
        start = self._start(parameter)
        if not parameter.low <= start <= parameter.high:
            raise ValueError(
                f"{machine.name} starts with {name} = {start:g}, outside {parameter.low:g} to "
                f"{parameter.high:g}: widen the bounds, or start from a machine within them "
                "(with_design)"
            )
        if name == VOLTAGE:
            s = self.supply
            for volts in (parameter.low, parameter.high):
                energy_factor(s.node_nm, volts, s.process)
            logic_at(machine.technology, s.node_nm, parameter.low, parameter.high, s.process)
        if name == "weight_bits" and name not in self.opposed and parameter.low < 2:
            raise ValueError("weights are rounded to 2 bits or more: raise low of weight_bits")

    def _start(self, parameter: DesignParameter) -> float:
        if parameter.name != VOLTAGE:
            return float(getattr(self.hardware.design, parameter.name))
        if self.supply is None:
            raise ValueError(
                f"{VOLTAGE} needs the supply that the constants of {self.hardware.name} are for: "
                "give Supply(node_nm, voltage_v)"
            )
        return self.supply.voltage_v

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the design parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    def init(self, key: jax.Array, variables: Any, workload: Workload) -> dict[str, jax.Array]:
        """Leaves at the machine's own values, kept a hundredth of the range inside the bounds."""
        starts = {parameter.name: self._start(parameter) for parameter in self.parameters}
        return self.leaves(
            {k.name: jnp.full(len(workload), starts[k.name]) if k.per_layer else starts[k.name]
             for k in self.parameters}
        )  # fmt: skip

    def leaves(self, values: Values) -> dict[str, jax.Array]:
        """Leaves at which the parameters have these values, well inside their bounds."""
        shares = {k.name: k.share(values[k.name]) for k in self.parameters}
        return {
            name: jax.scipy.special.logit(jnp.clip(jnp.asarray(s, float), INSIDE, 1 - INSIDE))
            for name, s in shares.items()
        }

    def values(self, leaves: Values) -> dict[str, jax.Array]:
        """Values of the parameters by name, before the limits that the machine sets itself."""
        return {k.name: self._value(k, leaves[k.name]) for k in self.parameters}

    def _value(self, parameter: DesignParameter, leaf: jax.Array) -> jax.Array:
        value = parameter.at(jax.nn.sigmoid(leaf))
        near = nearest_feasible(parameter.name, value, parameter.low, parameter.high)
        taken = True if self.feasible else jnp.abs(value - near) <= NEAR * jnp.abs(near)
        return jnp.where(taken, straight_through(near, value), value)

    def buildable(self, values: Values) -> dict[str, jax.Array]:
        """The values rounded to those that can be built; rounding twice changes nothing more."""
        bounds = {k.name: (k.low, k.high) for k in self.parameters}
        return {
            name: nearest_feasible(name, v, *bounds.get(name, ())) for name, v in values.items()
        }

    def settled(self, leaves: Values, pairs: Pairs) -> Limited:
        """Values within the limits of the machine, and the log excess of the leaves over them.

        Args:
            leaves: of this lever.
            pairs: layers and the machine, before these design parameters.

        Returns:
            Values by name, including a clock that follows its supply, and the excess by limit:
            `targets`, `cores` and `clock`, if a design parameter affects them; 0 if it is met.
        """
        asked = self.values(leaves)
        values, excess = self._limited(asked, pairs)
        if not self.feasible:
            return values, excess
        whole, excess = self.construct(asked, pairs)
        return {n: straight_through(v, values[n]) for n, v in whole.items()}, excess

    def construct(self, values: Values, pairs: Pairs) -> Limited:
        """Values that can be built within the limits of the machine, and the excess left over."""
        # Sizes first: their rounded values set the limits of the others.
        sizes, _ = self._limited(self.buildable(values), pairs)
        whole = self.buildable(sizes)
        _, excess = self._limited(whole, pairs)
        return whole, excess

    def _limited(self, values: Values, pairs: Pairs) -> Limited:
        layers = self.on(values, pairs)
        highs = {parameter.name: parameter.high for parameter in self.parameters}
        clock_hz = fastest_hz = self.hardware.design.clock_hz
        if VOLTAGE in values:
            fastest_hz = clock_hz / self.supply.slowdown(values[VOLTAGE])
        within, excess = dict(values), {}
        for changed, over in (
            limits.cores(values, layers, highs),
            limits.targets(values, layers),
            limits.clock(values, clock_hz, fastest_hz),
        ):
            within |= changed
            excess |= over
        return within, excess

    def excess(self, leaves: Values, pairs: Pairs) -> jax.Array:
        """`Σ relu(log(needed / available))²` over the limits of the machine."""
        return squared(self.settled(leaves, pairs)[1])

    def price(self, leaves: Values, params: Any, pairs: Pairs) -> Pairs:
        """The layers on the machine with these design parameters."""
        values, _ = self.settled(leaves, pairs)
        return self.on(values, pairs)

    def on(self, values: Values, pairs: Pairs) -> Pairs:
        """The layers on the machine with these values unchanged."""
        return [
            (layer, self.machine(_of_layer(values, number), hardware))
            for number, (layer, hardware) in enumerate(pairs)
        ]

    def machine(self, values: Values, hardware: Hardware | None = None) -> Hardware:
        """The machine with these values, one number per parameter.

        Args:
            values: by name; a voltage also changes the constants of the logic.
            hardware: another machine of the same architecture; None: the lever's own.
        """
        base = self.hardware if hardware is None else hardware
        design = {name: value for name, value in values.items() if name != VOLTAGE}
        base = base.with_design(**design)
        if VOLTAGE not in values:
            return base
        s = self.supply
        technology = logic_at(base.technology, s.node_nm, s.voltage_v, values[VOLTAGE], s.process)
        return dataclasses.replace(base, technology=technology)

    def network(self, leaves: Values, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """The network, its weights rounded to the next whole width if that is trained."""
        if "weight_bits" not in leaves or "weight_bits" in self.opposed:
            return variables
        parameter = next(k for k in self.parameters if k.name == "weight_bits")
        bits = self.values(leaves)["weight_bits"]
        # Always whole: a network trained on a grid between two widths loses accuracy once built.
        bits = straight_through(
            nearest_feasible(parameter.name, bits, parameter.low, parameter.high), bits
        )

        def rounded(path, leaf, label):
            narrow = label == "weights" and getattr(path[-1], "key", None) != "bias"
            return round_weights(leaf, bits) if narrow else leaf

        params = variables["params"]
        params = jax.tree_util.tree_map_with_path(rounded, params, label_params(params))
        return {**variables, "params": params}


def committed(hardware: Hardware, dense_share: float = 0.5) -> Hardware:
    """The machine with one fixed dataflow per layer (`jsnn.hardware.architectures.committed`).

    Raises:
        ValueError: a machine that has one dataflow only.

    >>> from jsnn.hardware import get
    >>> committed(get("spatial-45nm")).architecture.name
    'spatial-committed'
    """
    kinds = {Spatial: CommittedSpatial, Neuromorphic: CommittedNeuromorphic}
    kind = kinds.get(type(hardware.architecture))
    if kind is None:
        raise ValueError(
            f"{hardware.name}: architecture {hardware.architecture.name!r} has no dataflows to "
            f"choose between; those that have are {[k.name for k in kinds]}"
        )
    options = {
        f.name: getattr(hardware.architecture, f.name)
        for f in dataclasses.fields(hardware.architecture)
    }
    design = dataclasses.replace(hardware.design, dense_share=dense_share)
    return dataclasses.replace(hardware, architecture=kind(**options), design=design)


def squared(excess: Mapping[str, jax.Array]) -> jax.Array:
    """Sum of squares of the excess over all limits."""
    return sum((jnp.square(over) for over in excess.values()), jnp.zeros(()))


def _of_layer(values: Values, number: int) -> dict[str, Any]:
    return {name: v[number] if jnp.ndim(v) else v for name, v in values.items()}


def round_weights(weights: jax.Array, bits: Any) -> jax.Array:
    """Weights on a symmetric grid of `bits` bits, a real number with a gradient.

    q = s · round(w / s),   s = max|w| / (2^(bits - 1) - 1),   ∂q/∂w = 1,   ∂q/∂s = round(w/s) - w/s

    At whole bits the values are those of `jsnn.quantise.fake_quantise`.

    Source: the slope in s is that of Esser et al. 2020 (LSQ, 1902.08153, equation 3), here
    continued to the bits.

    >>> round_weights(jnp.array([1.0, 0.4, -0.7]), 3.0).tolist()
    [1.0, 0.333, -0.667]
    """
    top = jax.lax.stop_gradient(jnp.max(jnp.abs(weights)))
    scale = grid_step(top, 2.0 ** (bits - 1) - 1)
    ratio = in_steps(*map(jax.lax.stop_gradient, (weights, scale)))
    level = jnp.round(ratio)
    return straight_through(scale * level, weights + scale * (level - ratio))

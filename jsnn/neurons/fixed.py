"""A neuron in fixed point: membrane, threshold and decay on grids that integers can hold."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jax import Array

from jsnn.neurons._decay import decay
from jsnn.neurons.iff import IF
from jsnn.neurons.li import LI
from jsnn.neurons.lif import LIF
from jsnn.neurons.protocol import NeuronOps, Params
from jsnn.neurons.reset import reset_membrane
from jsnn.neurons.trained import Range, check_trainable
from jsnn.quantise import levels, nearest_power_of_two, on_grid, power_of_two, round_through

# Integers up to here are exact in float32, and so are their products with a power of two.
EXACT_BITS = 24


class Numbers(NamedTuple):
    """Numbers that a population computes with; all but the gain are in fixed point.

    Attributes:
        step: of the membrane's grid, a power of two.
        low, high: lowest and highest membrane in steps.
        decay: fraction of the membrane kept in a step, `k / 2^decay_bits`; None without leak.
        gain: of the current.
        threshold, reset: on the membrane's grid; None for a neuron without spikes.
    """

    step: Array
    low: Array
    high: Array
    decay: Array | None
    gain: Array
    threshold: Array | None
    reset: Array | None


@dataclasses.dataclass(frozen=True)
class Fixed:
    """LIF, IF or LI with a membrane of a few bits, as integer hardware computes it.

    With the grid `s {-2^(b-1), ..., 2^(b-1) - 1}` of a step s that is a power of two, and `round`
    to multiples of s, ties to even:

    `v ← clip(round(a v) + round(g I))`, `s = H(v − v_threshold)`, reset;
    `a = k / 2^n`, `0 <= k < 2^n`, the threshold on the grid from s up, `v_reset` on the grid.

    The sum saturates; both roundings are shifts. Currents whose weights lie on a grid of powers of
    two and have `g = 1` are integers as well, and float32 then computes exactly what integers do
    (while sums stay below 2^24 units). Gradients go straight through every rounding, and to step
    and bits as in `jsnn.quantise.on_grid`.

    Leaves: those of the neuron, with the gain of its current (`r`, or `(1 − a) r` where it scales
    its input) as one leaf `gain` in place of `r`; `state_step`, `state_bits` and, with leak,
    `decay_bits`. What the neuron inside trains is trained here; `r` cannot be, nor the grids, which
    are trained by a lever (`jsnn.codesign.bit_widths`).

    Attributes:
        neuron: the neuron model, at rest at 0.
        state_bits: b at the start.
        state_step: s at the start; the nearest power of two is taken.
        decay_bits: n at the start.

    Raises:
        ValueError: another neuron, or one with `v_leak`, or one that trains `r`; bits or a step
            that make no grid; products of membrane and decay that are too wide for float32 (more
            than 24 bits).

    Example:
        >>> import jax
        >>> neuron = Fixed(LIF(tau_mem=10e-3), state_bits=6, state_step=0.125, decay_bits=3)
        >>> params = neuron.init_params(jax.random.key(0), (1,))
        >>> state = neuron.init_state(params, (1, 1))
        >>> for current in (0.7, 0.0):
        ...     state, spikes = neuron.step(params, state, jnp.full((1, 1), current))
        >>> float(state.v[0, 0])
        0.625
    """

    neuron: LIF | IF | LI = LIF()  # noqa: RUF009
    state_bits: int = 16
    state_step: float = 2.0**-10
    decay_bits: int = 8

    least_bits: ClassVar[int] = 2

    def __post_init__(self):
        if not isinstance(self.neuron, LIF | IF | LI):
            raise ValueError(
                "only LIF, IF and LI are known in fixed point, got "
                f"{type(self.neuron).__name__}; use one of them or stay in floating point"
            )
        if getattr(self.neuron, "v_leak", 0):
            raise ValueError(
                f"a fixed-point membrane rests at 0, got v_leak {self.neuron.v_leak}; move it into "
                "the bias and the threshold"
            )
        if not 2 <= self.state_bits or not 1 <= self.decay_bits:
            raise ValueError(
                f"expected state_bits of 2 or more and decay_bits of 1 or more, got "
                f"{self.state_bits} and {self.decay_bits}"
            )
        if self.state_bits - 1 + self.decay_bits > EXACT_BITS:
            raise ValueError(
                f"a membrane of {self.state_bits} bits times a decay of {self.decay_bits} is not "
                f"exact in float32: keep state_bits + decay_bits within {EXACT_BITS + 1}"
            )
        if not 0 < self.state_step < float("inf"):
            raise ValueError(f"state_step must be positive and finite, got {self.state_step}")
        check_trainable(self)

    @property
    def spiking(self) -> bool:
        """Whether the neuron inside fires."""
        return self.neuron.spiking

    @property
    def trainable(self) -> tuple[str, ...]:
        """What the neuron inside trains. Grids are trained by `jsnn.codesign.bit_widths.Bits`."""
        return self.neuron.trainable

    @property
    def ranges(self) -> dict[str, Range]:
        """Those of the neuron inside, except that of `r`."""
        return {name: kind for name, kind in self.neuron.ranges.items() if name != "r"}

    @property
    def ops(self) -> NeuronOps:
        """Those of the neuron inside."""
        return self.neuron.ops

    @property
    def leaky(self) -> bool:
        """Whether the membrane decays."""
        return not isinstance(self.neuron, IF)

    def init_params(self, key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Params:
        """The leaves above, each of this feature shape."""
        params = self.neuron.init_params(key, shape, dtype)
        gain = params.pop("r")
        if getattr(self.neuron, "scale_input", False):
            gain = (1 - decay(params["tau_mem"], self.neuron.dt)) * gain
        own = {"state_step": self.state_step, "state_bits": self.state_bits}
        if self.leaky:
            own["decay_bits"] = self.decay_bits
        return (
            params
            | {"gain": gain}
            | {name: jnp.full(shape, value, dtype) for name, value in own.items()}
        )

    def numbers(self, params: Params) -> Numbers:
        """What the leaves stand for.

        >>> import jax
        >>> neuron = Fixed(LIF(tau_mem=10e-3), decay_bits=3)
        >>> neuron.numbers(neuron.init_params(jax.random.key(0), (1,))).decay
        Array([0.875], dtype=float32)
        """
        step = nearest_power_of_two(params["state_step"])
        low, high = levels(_whole(params["state_bits"], self.least_bits))
        kept = threshold = reset = None
        if self.leaky:
            unit = power_of_two(-_whole(params["decay_bits"], 1))
            kept = on_grid(decay(params["tau_mem"], self.neuron.dt), unit, 0, 1 / unit - 1)
        if self.spiking:
            # A threshold below one step would fire at rest, one above the highest membrane never.
            threshold = on_grid(params["v_threshold"], step, 1, high)
            rest = jnp.asarray(self.neuron.v_reset, step.dtype)
            reset = on_grid(rest, step, low, high)
        return Numbers(step, low, high, kept, params["gain"], threshold, reset)

    def init_state(self, params: Params, shape: tuple[int, ...], key: Array | None = None) -> Any:
        """State of the neuron inside, on the grid."""
        state = self.neuron.init_state(params, shape, key)
        step, low, high, *_ = self.numbers(params)
        return state._replace(v=on_grid(state.v, step, low, high))

    def step(self, params: Params, state: Any, current: Array) -> tuple[Any, Array]:
        """One step of the equations above."""
        own = self.numbers(params)
        v = state.v / own.step
        if own.decay is not None:
            v = round_through(own.decay * v)
        v = v + round_through(own.gain * current / own.step)
        v = own.step * jnp.where(v <= own.low, own.low, jnp.where(v >= own.high, own.high, v))
        if not self.spiking:
            return state._replace(v=v), v
        neuron = self.neuron
        spikes = neuron.surrogate(v - own.threshold, neuron.strict)
        v = reset_membrane(
            v,
            spikes,
            own.threshold,
            reset=neuron.reset,
            v_reset=own.reset,
            detach=neuron.detach_reset,
        )
        return state._replace(v=v), spikes

    def potential(self, state: Any) -> Array:
        """The membrane."""
        return state.v


def _whole(bits: Array, least: int) -> Array:
    """Bits as a whole number of this or more; above 24, membranes exceed float32 anyway."""
    return round_through(jnp.clip(bits, least, EXACT_BITS))

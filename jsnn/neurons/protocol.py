"""Protocol of a neuron. Any object that fits can be unrolled, layered and priced."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

Params = dict[str, Array]


class NeuronOps(NamedTuple):
    """State and operations of one neuron in one step, counted from its equations.

    The rules of counting, the same for every neuron:

    * a constant (a decay, a product of constants) is worked out before deployment;
      multiplying the state by it is one multiply each step;
    * a constant gain on the input current sits in the synaptic weights and costs nothing;
    * synaptic accumulations belong to the synapses; adding their sum to a state that was just
      multiplied is one add (with the multiply: one multiply-accumulate). A neuron without leak
      accumulates straight into its membrane and adds nothing;
    * a product with a spike is an add when there is a spike: `adds_per_spike`;
    * a spike remembered for the next step is one bit of the routing, not a state word.

    Attributes:
        state_words: state variables kept between steps.
        multiplies: multiplications per step.
        adds: additions per step.
        compares: threshold comparisons per step.
        adds_per_spike: additions for each spike sent.
    """

    state_words: int
    multiplies: int
    adds: int
    compares: int
    adds_per_spike: int


# Of outputs without a neuron.
NO_OPS = NeuronOps(0, 0, 0, 0, 0)


@runtime_checkable
class Neuron(Protocol):
    """The dynamics of a neuron and its hyper-parameters: frozen, hashable, without arrays.

    Shapes: params have the shape of the features, `(N,)` or `(C,)`, and broadcast from the right
    against state, current and spikes `[B, ...]`. All arrays of a population share one dtype.

    Spikes are 0 or 1, or whole multiples of an attribute `spike_value`, where a neuron has one.

    `params` are values in physical units, as `step` computes with them. A neuron with trained
    leaves has two more attributes (`jsnn.neurons.trained`): `trainable`, their names, and `ranges`,
    a `Factor` or `Shift` for each leaf.
    """

    @property
    def spiking(self) -> bool:
        """False if the "spikes" are the membrane itself."""
        ...

    @property
    def ops(self) -> NeuronOps:
        """State words and operations of one neuron in one step."""
        ...

    def init_params(self, key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Params:
        """Initial constants, each of this feature shape."""
        ...

    def init_state(self, params: Params, shape: tuple[int, ...], key: Array | None = None) -> Any:
        """State at rest, of shape `[B, ...]`; a key draws a random membrane."""
        ...

    def step(self, params: Params, state: Any, current: Array) -> tuple[Any, Array]:
        """One step: the new state and the spikes, both `[B, ...]`."""
        ...

    def potential(self, state: Any) -> Array:
        """The membrane in a state, `[B, ...]`."""
        ...


def membrane_at_rest(
    shape: tuple[int, ...],
    rest: float | Array,
    span: Array,
    key: Array | None,
    threshold: Array | None = None,
) -> Array:
    """`rest` everywhere, or uniform in `[rest, rest + span)` where a key is given.

    NaN where a threshold is given that is not positive: such a neuron would fire in every step.
    """
    v = jnp.full(shape, rest, span.dtype)
    if key is not None:
        v = v + span * jax.random.uniform(key, shape, span.dtype)
    return v if threshold is None else jnp.where(threshold > 0, v, jnp.nan)

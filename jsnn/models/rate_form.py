"""The QNN as a network of its own, trained against its own energy estimate.

a_l = clip(floor(L z_l / θ_l + 1/2), 0, L) / L,   L = 2^b - 1,   b = ceil(log2(T + 1))

This allows comparing two trained networks at equal accuracy, instead of a trained spiking network
with a QNN of merely equal capacity (`jsnn.estimate_qnn_energy`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jsnn._straight_through import straight_through
from jsnn.energy.qnn import activation_bits, estimate_qnn_energy, qnn_workload
from jsnn.hardware import Hardware
from jsnn.models.mlp import MLP
from jsnn.neurons.protocol import NeuronOps, Params
from jsnn.neurons.trained import Factor, Range, check_trainable
from jsnn.workload import Workload

__all__ = ["QNNEnergy", "QuantisedReLU", "as_window", "qnn_mlp", "unread_pj"]


@dataclasses.dataclass(frozen=True)
class QuantisedReLU:
    """A rectifier of 2^bits levels in place of a neuron, with outputs in [0, 1].

    a = clip(floor(L z / θ + 1/2), 0, L) / L,   da/dz = 1/θ where 0 < z < θ, else 0

    Attributes:
        bits: of an activation.
        trainable: leaves that are trained.

    Raises:
        ValueError: less than one bit; `trainable` names no leaf.

    Source: Bu et al. 2022 (QCFS, shift 1/2), where θ is trained too: leaf `v_threshold`. If it is
    not positive, the output is NaN.

    >>> neuron = QuantisedReLU(2)
    >>> params = neuron.init_params(jax.random.key(0), (4,))
    >>> neuron.step(params, None, jnp.array([[-1.0, 0.3, 0.6, 2.0]]))[1].tolist()
    [[0.0, 0.333, 0.667, 1.0]]
    """

    bits: int
    trainable: tuple[str, ...] = ("v_threshold",)

    spiking: ClassVar[bool] = True

    def __post_init__(self):
        if self.bits < 1:
            raise ValueError(f"an activation needs at least one bit, got {self.bits}")
        check_trainable(self)

    @property
    def ranges(self) -> dict[str, Range]:
        """θ is positive."""
        return {"v_threshold": Factor()}

    @property
    def levels(self) -> int:
        """L, the largest level."""
        return 2**self.bits - 1

    @property
    def spike_value(self) -> float:
        """1 / L, the value of one event: an output is a whole number of such events."""
        return 1 / self.levels

    @property
    def ops(self) -> NeuronOps:
        """Nothing: rounding and rectifying are free for the QNN."""
        return NeuronOps(0, 0, 0, 0, 0)

    def init_params(self, key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> Params:
        """`v_threshold`, θ: 1."""
        return {"v_threshold": jnp.ones(shape, dtype)}

    def init_state(self, params: Params, shape: tuple[int, ...], key: Any = None) -> jax.Array:
        """The last output; it has no effect."""
        return jnp.zeros(shape, params["v_threshold"].dtype)

    def step(self, params: Params, state: Any, current: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The output for a current, as in the class."""
        top = params["v_threshold"]
        smooth = jnp.clip(current / jnp.where(top > 0, top, jnp.nan), 0, 1)
        sent = straight_through(jnp.floor(smooth * self.levels + 0.5) / self.levels, smooth)
        return sent, sent

    def potential(self, state: jax.Array) -> jax.Array:
        """The last output."""
        return state


def qnn_mlp(network: MLP, bits: int) -> MLP:
    """The QNN of a network: its weights, one frame, activations of `bits` bits.

    Its workload has levels where the spiking network has spikes: `events_by_fan_out` sums them,
        `active`
    counts those that are not zero, which the QNN with measured density multiplies.

    Args:
        network: the spiking network.
        bits: of the activations.

    Raises:
        ValueError: less than one bit.

    >>> model, frames = qnn_mlp(MLP((16,), 3), bits=2), jnp.ones((1, 2, 8))
    >>> model.apply(model.init(jax.random.key(0), frames), frames).shape
    (2, 3)
    """
    neuron = QuantisedReLU(bits)
    return network.clone(neuron=neuron, input_kind="constant")


def as_window(workload: Workload, steps: int) -> Workload:
    """The workload of a QNN as that of the window of `steps` steps that it corresponds to.

    >>> from jsnn.workload.analytic import dense
    >>> as_window(Workload((dense(8, 4, steps=1, rate=0.5),)), 6).layers[0].steps
    6
    """
    layers = (dataclasses.replace(layer, steps=steps, by_step=None) for layer in workload)
    return dataclasses.replace(workload, layers=tuple(layers))


@dataclasses.dataclass(frozen=True)
class QNNEnergy:
    """The energy of a QNN at measured density: a regulariser for `qnn_mlp`.

    Its value counts the activations that are not zero. Its gradient is that of the formula
    `2 x / (T + 1)` over all activations (`jsnn.estimate_qnn_energy`, density `average`), which
    falls with every level, while a count of non-zeros is flat above the first. For
    `jsnn.train.objective.Objective`, as those of `jsnn.train.regularisers`.

    Attributes:
        hardware: the machine.
        steps: window of the spiking network, which sets the bits.

    >>> from jsnn.hardware import get
    >>> model, frames = qnn_mlp(MLP((16,), 3), bits=2), jnp.ones((1, 2, 8))
    >>> from jsnn.nn import run
    >>> _, work = run(model, model.init(jax.random.key(0), frames), frames)
    >>> bool(QNNEnergy(get("neuromorphic-22nm"), 3)(work) > 0)
    True
    """

    hardware: Hardware
    steps: int

    def __post_init__(self):
        activation_bits(self.steps)

    def per_sample(self, workload: Workload) -> jax.Array:
        """`[B]` pJ at measured density."""
        return estimate_qnn_energy(
            as_window(workload, self.steps), self.hardware, "measured"
        ).total_pj()

    def __call__(self, workload: Workload, params: Any = None) -> jax.Array:
        """Scalar, pJ."""
        smooth = estimate_qnn_energy(
            as_window(workload, self.steps), self.hardware, "average"
        ).total_pj()
        return straight_through(self.per_sample(workload), smooth).mean()


def unread_pj(workload: Workload, hardware: Hardware, steps: int) -> jax.Array:
    """`[B]` pJ of weight reads that a QNN saves if the weights of zero inputs are not read.

    For machines that read every weight of a frame and have no design parameter for it: connections
    whose input is zero, at the price of a connection's weight read. Finding the zeros is free,
    which favours the QNN.

    Args:
        workload: that of the QNN.
        hardware: the machine.
        steps: window of the spiking network.

    Raises:
        ValueError: a machine that has the design parameter, or does not charge reads by connection.

    >>> from jsnn.hardware import get
    >>> model, frames = qnn_mlp(MLP((16,), 3), bits=2), jnp.zeros((1, 2, 8))
    >>> from jsnn.nn import run
    >>> _, work = run(model, model.init(jax.random.key(0), frames), frames)
    >>> machine = get("neuromorphic-22nm")
    >>> float(unread_pj(work, machine, 3)[0] / (0.0385 * 8))
    176.0
    """
    if "zero_skipping" in hardware.architecture.parameters:
        raise ValueError(f"{hardware.name} has the design parameter zero_skipping: set it instead")
    saved = jnp.zeros(())
    for layer in qnn_workload(as_window(workload, steps)):
        (table, *_) = hardware.prices(layer.geometry)
        if "weight_memory" not in table.get("connections", {}):
            raise ValueError(f"{hardware.name} charges no weight read by connection")
        idle = layer.geometry.synapses - layer.active_synapses
        saved = saved + idle * table["connections"]["weight_memory"]
    return saved

"""Feed-forward network of dense layers."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax

from jsnn._ops.precision import F32, Precision
from jsnn.neurons import LI, LIF, Neuron
from jsnn.nn.layers import Dropout, Flatten, Spiking, batch_norm
from jsnn.readouts import MeanMembrane, Readout
from jsnn.workload import InputKind


class MLP(nn.Module):
    """Dense spiking layers of the given widths and a leaky-integrator readout.

    Attributes:
        widths: neurons of each hidden layer.
        classes: outputs.
        neuron: neuron model of the hidden populations.
        readout: reduction of the output population over time.
        readout_neuron: neuron model of the output population.
        input_kind: kind of the frames (the encoder's `input_kind`).
        gain: weights start with a variance of gain / fan-in.
        dropout: share of each hidden layer's spikes dropped in training.
        input_dropout: share of the inputs dropped in training, for the whole window.
        norm: batch norm of the hidden currents, over time and batch.
        precision: of the matrix products of the synapses.

    Raises:
        ValueError: no width, or a width below 1.

    >>> import jax, jax.numpy as jnp
    >>> model, frames = MLP((16,), 3), jnp.ones((5, 2, 8))
    >>> model.apply(model.init(jax.random.key(0), frames), frames).shape
    (2, 3)
    """

    widths: tuple[int, ...]
    classes: int
    neuron: Neuron = LIF()
    readout: Readout = MeanMembrane()
    readout_neuron: Neuron = LI()
    input_kind: InputKind = "constant"
    gain: float = 2.0
    dropout: float = 0.0
    input_dropout: float = 0.0
    norm: bool = False
    precision: Precision = F32
    causal: ClassVar[bool] = True
    images: ClassVar[bool] = False

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Frames `[T, B, ...]` to the result of the readout."""
        check_widths(self.widths)
        init = nn.initializers.variance_scaling(self.gain, "fan_in", "normal")
        x = Dropout(self.input_dropout)(Flatten()(frames), train)
        wired = {"input_kind": self.input_kind}
        for depth, width in enumerate(self.widths):
            x = Spiking(
                nn.Dense(
                    width,
                    use_bias=not self.norm,
                    kernel_init=init,
                    parent=None,
                    **self.precision.dense,
                ),
                self.neuron,
                **wired,
                norm=batch_norm() if self.norm else None,
                name=f"hidden_{depth}",
            )(x, train)
            x, wired = Dropout(self.dropout)(x, train), {}
        synapse = nn.Dense(self.classes, parent=None, **self.precision.dense)
        last = {"readout": self.readout, "name": "readout", **wired}
        return Spiking(synapse, self.readout_neuron, **last)(x, train)


def check_widths(widths: tuple[int, ...]) -> None:
    """Raise ValueError unless there is at least one width and all are positive."""
    if not widths or min(widths) < 1:
        raise ValueError(f"expected one or more positive layer widths, got {tuple(widths)}")

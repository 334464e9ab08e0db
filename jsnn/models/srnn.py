"""Recurrent network: populations with all-to-all recurrence and a leaky-integrator readout."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax

from jsnn._ops.precision import F32, Precision
from jsnn.models.mlp import check_widths
from jsnn.neurons import ALIF, LI, Neuron
from jsnn.nn.layers import Dropout, Flatten, Spiking
from jsnn.readouts import PerStep, Readout
from jsnn.workload import InputKind


class SRNN(nn.Module):
    """Recurrent spiking layers; xavier feed-forward and orthogonal recurrent weights.

    Source: Yin, Corradi & Bohte 2021 (2103.12593) with ALIF; Higuchi et al. 2024 (2402.14603) with
    BRF, whose synapses have no bias.

    Attributes:
        widths: neurons of each hidden layer.
        classes: outputs.
        neuron: neuron model of the hidden populations.
        readout: reduction of the output population over time.
        readout_neuron: neuron model of the output population.
        input_kind: kind of the frames.
        dropout: share of each hidden layer's spikes dropped in training.
        use_bias: biases on all synapses.
        recurrent_init: `orthogonal`, or `xavier` as for the feed-forward weights.
        random_state: random initial membranes in training.
        precision: of the matrix products of the synapses.

    Raises:
        ValueError: no width, or a width below 1.

    >>> import jax, jax.numpy as jnp
    >>> model, frames = SRNN((36,), 6), jnp.ones((5, 2, 4))
    >>> model.apply(model.init(jax.random.key(0), frames), frames).shape
    (5, 2, 6)
    """

    widths: tuple[int, ...]
    classes: int
    neuron: Neuron = ALIF()
    readout: Readout = PerStep()
    readout_neuron: Neuron = LI()
    input_kind: InputKind = "events"
    dropout: float = 0.0
    use_bias: bool = True
    recurrent_init: str = "orthogonal"
    random_state: bool = False
    precision: Precision = F32
    causal: ClassVar[bool] = True
    images: ClassVar[bool] = False

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> jax.Array:
        """Frames `[T, B, ...]` to the result of the readout."""
        check_widths(self.widths)
        init = nn.initializers.xavier_uniform()
        inits = {"orthogonal": nn.initializers.orthogonal(), "xavier": init}
        if self.recurrent_init not in inits:
            raise ValueError(
                f"recurrent_init must be one of {sorted(inits)}, got {self.recurrent_init!r}"
            )
        recurrent = inits[self.recurrent_init]
        x, kind, products = Flatten()(frames), self.input_kind, self.precision.dense
        for depth, width in enumerate(self.widths):
            x = Spiking(
                nn.Dense(width, use_bias=self.use_bias, kernel_init=init, parent=None, **products),
                self.neuron,
                input_kind=kind,
                recurrent=True,
                recurrent_init=recurrent,
                random_state=self.random_state,
                precision=self.precision,
                name=f"hidden_{depth}",
            )(x, train)
            x, kind = Dropout(self.dropout)(x, train), "spikes"
        synapse = nn.Dense(
            self.classes, use_bias=self.use_bias, kernel_init=init, parent=None, **products
        )
        return Spiking(synapse, self.readout_neuron, readout=self.readout, name="readout")(x, train)

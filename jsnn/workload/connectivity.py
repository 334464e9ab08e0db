"""Connectivity of a synapse: how many connections leave each input, and the weights behind them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

# What to do where a connectivity is not that of its synapse.
REGISTER = "register one that is its own (@jsnn.nn.synapses.connectivity.register)"


class Connectivity(NamedTuple):
    """Static facts of a synapse for one input shape.

    Attributes:
        kind: `dense`, `conv` or `product`.
        fan_out: `[*input_shape]` connections that leave each input (an int array, NumPy).
        fan_in: inputs of one interior neuron.
        fan_out_area: kernel height x width (1 for dense).
        weights: stored weights.
        biases: stored biases.
        kernel, strides, padding, dilation: of a convolution; empty for dense.
        groups: of its channels.
        output_shape: shape of one output frame, which a layer compares with that of the synapse's
            output; None: unknown.
    """

    kind: str
    fan_out: np.ndarray
    fan_in: int
    fan_out_area: int
    weights: int
    biases: int
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    output_shape: tuple[int, ...] | None = None

    @classmethod
    def uniform(
        cls, kind: str, inputs: int, fan_out: int, *, fan_in: int | None = None, **facts: Any
    ) -> Connectivity:
        """Flat frames whose inputs all have the same fan-out.

        Args:
            kind: `dense` or `product`.
            inputs: their number.
            fan_out: of each.
            fan_in: of each output; None: all inputs.
            facts: `weights`, `biases`, `output_shape`.

        >>> Connectivity.uniform("dense", 3, 2, weights=6).synapses
        6
        """
        return cls(
            kind=kind,
            fan_out=np.broadcast_to(fan_out, (inputs,)),
            fan_in=inputs if fan_in is None else fan_in,
            fan_out_area=1,
            **{"weights": 0, "biases": 0} | facts,
        )

    def check(self, input_shape: tuple[int, ...], sent_shape: tuple[int, ...], name: str) -> None:
        """Raise ValueError unless this connectivity fits frames of these shapes.

        Args:
            input_shape, sent_shape: of one input frame, and of one output frame of the synapse.
            name: of the synapse, for the message.
        """
        if self.output_shape not in (None, sent_shape):
            raise ValueError(
                f"{name}: the connectivity is that of frames {list(self.output_shape)}, and it "
                f"sends {list(sent_shape)}: {REGISTER}"
            )
        fan_out, neurons = np.asarray(self.fan_out), math.prod(sent_shape)
        inputs = math.prod(input_shape)
        wrong = None
        if fan_out.shape != tuple(input_shape):
            wrong = f"of each input, shape {list(input_shape)}, found {list(fan_out.shape)}"
        elif not np.issubdtype(fan_out.dtype, np.integer):
            wrong = f"of integers, found {fan_out.dtype}"
        elif fan_out.size and not 0 <= fan_out.min() <= fan_out.max() <= neurons:
            wrong = (
                f"of 0 to {neurons}, a connection to each output at most, "
                f"found {fan_out.min()} to {fan_out.max()}"
            )
        elif self.kind == "dense" and fan_out.sum() < self.weights:
            wrong = f"that sums up to the {self.weights} weights or more, found {fan_out.sum()}"
        if wrong:
            raise ValueError(f"{name}: expected a connectivity with fan_out {wrong}: {REGISTER}")
        # A kernel may be larger than the image.
        dense = self.kind == "dense"
        if not 0 < self.fan_in or (dense and not fan_out.sum() / neurons <= self.fan_in <= inputs):
            raise ValueError(
                f"{name}: the connectivity has {fan_out.sum()} connections to {neurons} outputs; "
                f"expected a fan_in of 1 to {inputs}, the most of one output, found {self.fan_in}: "
                f"{REGISTER}"
            )

    @property
    def synapses(self) -> int:
        """Number of connections for one frame."""
        return int(self.fan_out.sum())

    @property
    def fan_outs(self) -> tuple[int, ...]:
        """Fan-outs that occur, ascending."""
        return self._classes()[0]

    @property
    def inputs_by_fan_out(self) -> tuple[int, ...]:
        """Number of inputs with each of these fan-outs."""
        return self._classes()[1]

    def _classes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self.fan_out.size and not any(self.fan_out.strides):
            # One number, repeated without memory: it may stand for more inputs than fit.
            return (int(self.fan_out.flat[0]),), (self.fan_out.size,)
        fan_outs, inputs = np.unique(self.fan_out, return_counts=True)
        return tuple(fan_outs.tolist()), tuple(inputs.tolist())

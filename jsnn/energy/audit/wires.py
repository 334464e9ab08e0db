"""Every wire of a layer, listed one by one."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal

import numpy as np

Wires = tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclasses.dataclass(frozen=True)
class Dense:
    """Every input is wired to every output.

    Attributes:
        inputs, outputs: sizes.
    """

    inputs: int
    outputs: int

    def kernel_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the stored weights."""
        return self.inputs, self.outputs

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a frame that leaves; ValueError if `input_shape` does not fit."""
        if tuple(input_shape) != (self.inputs,):
            raise ValueError(f"{self} takes frames [{self.inputs}], found {list(input_shape)}")
        return (self.outputs,)

    def wires(self, input_shape: tuple[int, ...]) -> Wires:
        """For each input: the outputs it reaches and the weight on the way to each.

        >>> [(to.tolist(), by.tolist()) for to, by in Dense(2, 3).wires((2,))]
        [([0, 1, 2], [0, 1, 2]), ([0, 1, 2], [3, 4, 5])]
        """
        size = self.output_shape(input_shape)[0]
        addresses = np.arange(self.inputs * size).reshape(self.inputs, size)
        return tuple((np.arange(size), row) for row in addresses)


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution over any number of spatial axes, channels last.

    Attributes:
        kernel, strides, dilation: one number for each spatial axis.
        padding: `(low, high)` for each spatial axis.
        groups: groups of channels that do not see each other.
        features: output channels.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    features: int

    def __post_init__(self) -> None:
        axes = {len(field) for field in (self.kernel, self.strides, self.padding, self.dilation)}
        if len(axes) > 1:
            raise ValueError(f"expected one entry an axis in every field, found {self}")
        if self.features % self.groups:
            raise ValueError(f"{self.features} features do not split into {self.groups} groups")

    def kernel_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the stored weights: taps, channels of one group, features."""
        return *self.kernel, input_shape[-1] // self.groups, self.features

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a frame that leaves; ValueError if `input_shape` does not fit."""
        return *(len(places) for places in self._corners(input_shape)), self.features

    def wires(self, input_shape: tuple[int, ...]) -> Wires:
        """For each input: the outputs it reaches and the weight on the way to each.

        The kernel is laid on every place it can take; taps on the padding have no wire.

        >>> conv = Conv((2,), (1,), ((0, 0),), (1,), groups=1, features=1)
        >>> [to.tolist() for to, _ in conv.wires((3, 1))]
        [[0], [0, 1], [1]]
        """
        *space, channels = input_shape
        inside, across = channels // self.groups, self.features // self.groups
        wiring: list[tuple[list[int], list[int]]] = [([], []) for _ in range(np.prod(input_shape))]
        pixels = np.arange(np.prod(space, dtype=int)).reshape(space)
        corners = self._corners(input_shape)
        for cell, corner in enumerate(itertools.product(*corners)):
            for tap, offset in enumerate(itertools.product(*map(range, self.kernel))):
                place = tuple(
                    c + o * d for c, o, d in zip(corner, offset, self.dilation, strict=True)
                )
                if not all(0 <= p < size for p, size in zip(place, space, strict=True)):
                    continue
                for group, channel in itertools.product(range(self.groups), range(inside)):
                    source = int(pixels[place]) * channels + group * inside + channel
                    first = group * across
                    row = (tap * inside + channel) * self.features
                    for feature in range(first, first + across):
                        wiring[source][0].append(cell * self.features + feature)
                        wiring[source][1].append(row + feature)
        return tuple((np.asarray(to, int), np.asarray(by, int)) for to, by in wiring)

    def _corners(self, input_shape: tuple[int, ...]) -> list[range]:
        if len(input_shape) != len(self.kernel) + 1 or input_shape[-1] % self.groups:
            raise ValueError(
                f"{self} takes {len(self.kernel)} spatial axes and channels that split into "
                f"{self.groups} groups, found frames {list(input_shape)}"
            )
        corners = [
            range(-low, size + high - (taps - 1) * step, stride)
            for size, taps, stride, (low, high), step in zip(
                input_shape, self.kernel, self.strides, self.padding, self.dilation, strict=False
            )
        ]
        if not all(corners):
            raise ValueError(f"{self} does not fit frames {list(input_shape)}")
        return corners


@dataclasses.dataclass(frozen=True)
class Product:
    """One of the two products of attention, in which spikes meet spikes instead of weights.

    With H heads, head h of queries, keys and values at token i and feature c:

    * `rows`: queries x keys, `A[h, i, j] = Σ_c q[i, h, c] k[j, h, c]`; the operand is k;
    * `mix`: values x sums, `y[i, h, e] = Σ_j A[h, i, j] v[j, h, e]`; the operand is A;
    * `columns`: keys x values, `M[h, c, e] = Σ_j k[j, h, c] v[j, h, e]`; the operand is v;
    * `ask`: queries x sums, `y[i, h, e] = Σ_c q[i, h, c] M[h, c, e]`; the operand is M.

    Attributes:
        tokens, features, heads: sizes; features are those of all heads together.
        stage: which product.
    """

    tokens: int
    features: int
    heads: int
    stage: Literal["rows", "mix", "columns", "ask"]

    @property
    def sums(self) -> bool:
        """Whether the operand are sums of the product before."""
        return self.stage in ("mix", "ask")

    @property
    def operand_shape(self) -> tuple[int, ...]:
        """Shape of one frame of the operand."""
        width = self.features // self.heads
        return {
            "rows": (self.tokens, self.features),
            "mix": (self.heads, self.tokens, self.tokens),
            "columns": (self.tokens, self.features),
            "ask": (self.heads, width, width),
        }[self.stage]

    def kernel_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """No weights are stored."""
        return (0,)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a frame of results; ValueError if `input_shape` does not fit."""
        expected = self.tokens, self.features
        if tuple(input_shape) != expected:
            raise ValueError(f"{self} takes frames {list(expected)}, found {list(input_shape)}")
        width = self.features // self.heads
        if self.stage == "rows":
            return self.heads, self.tokens, self.tokens
        return (self.heads, width, width) if self.stage == "columns" else expected

    def wires(self, input_shape: tuple[int, ...]) -> Wires:
        """For each input: the results it reaches and the word of the operand on the way to each.

        >>> [(to.tolist(), by.tolist()) for to, by in Product(2, 1, 1, "rows").wires((2, 1))]
        [([0, 1], [0, 1]), ([2, 3], [0, 1])]
        """
        results = np.arange(np.prod(self.output_shape(input_shape)))
        results = results.reshape(self.output_shape(input_shape))
        operand = np.arange(np.prod(self.operand_shape)).reshape(self.operand_shape)
        width = self.features // self.heads
        wiring = []
        for token, feature in itertools.product(range(self.tokens), range(self.features)):
            head, column = divmod(feature, width)
            own = slice(head * width, (head + 1) * width)
            if self.stage == "rows":
                pairs = results[head, token, :], operand[:, feature]
            elif self.stage == "mix":
                pairs = results[:, feature], operand[head, :, token]
            elif self.stage == "columns":
                pairs = results[head, column, :], operand[token, own]
            else:
                pairs = results[token, own], operand[head, column, :]
            wiring.append(pairs)
        return tuple(wiring)

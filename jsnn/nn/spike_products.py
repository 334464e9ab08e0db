"""Spike products: the two products of attention as one synapse, and their workload."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jsnn._time_axis import total
from jsnn.events.event_value import sent, wide
from jsnn.neurons import NO_OPS, NeuronOps
from jsnn.workload import (
    ByStep,
    Connectivity,
    Geometry,
    LayerWorkload,
    Operand,
    Stored,
    newly_active,
)

Order = Literal["auto", "rows", "columns"]


class Stage(NamedTuple):
    """One product: every spike of a stream is multiplied by words of an operand.

    Attributes:
        name: short name, unique in its synapse.
        stream: `[T, B, *in]` spikes that come in.
        fan_out: words of the operand that each of them is multiplied by.
        terms: products that are summed to one result.
        results: shape of a frame of results.
        operand: size and kind of the operand.
        kept: `[T, B, *operand]` spikes that are the operand; None where it is sums.
        coincidences: `[B]` pairs of a spike of the stream and one of the operand; None without
            `kept`.
    """

    name: str
    stream: jax.Array
    fan_out: int
    terms: int
    results: tuple[int, ...]
    operand: Operand
    kept: jax.Array | None
    coincidences: jax.Array | None

    @property
    def totals(self) -> tuple[jax.Array, jax.Array | None]:
        """`[B, inputs]` spikes of each input, and of each word of the operand."""
        batch = self.stream.shape[1]
        kept = None if self.kept is None else total(self.kept).reshape(batch, -1)
        return total(self.stream).reshape(batch, -1), kept


@runtime_checkable
class Product(Protocol):
    """A synapse without weights, whose inputs are multiplied with each other in stages."""

    def stages(self, frames: jax.Array) -> tuple[Stage, ...]:
        """The product of each stage for `[T, B, *input_shape]`; the last feeds the neurons."""
        ...


class Attention(nn.Module):
    """Queries, keys and values to currents: `y = scale · (q kᵀ) v`, without softmax, head by head.

    `order` selects which product comes first; both give the same sums of integers.
    `rows`: `A[i, j] = Σ_c q[i, c] k[j, c]`, then `A v`, N² sums. `columns`:
    `M[c, e] = Σ_j k[j, c] v[j, e]`, then `q M`, d² sums. `auto` takes the fewer sums.

    Attributes:
        heads: number of heads, each of d = features / heads.
        scale: factor of the currents.
        order: see above.

    Raises:
        ValueError: an input that is not `[..., 3, N, D]` (queries, keys, values), features that do
            not split into the heads, unknown order.

    Source: Zhou et al. 2022, Spikformer (2209.15425), eq. 5-8.

    >>> x = jnp.ones((2, 3, 4, 6))
    >>> Attention(heads=2, scale=0.125).apply({}, x).shape
    (2, 4, 6)
    """

    heads: int
    scale: float = 0.125
    order: Order = "auto"

    @nn.compact
    def __call__(self, frames: jax.Array) -> jax.Array:
        """Spikes `[..., 3, N, D]` to currents `[..., N, D]`."""
        queries, keys, values = self._split(frames)
        if self.first(frames.shape[-3:]) == "rows":
            sums = jnp.einsum("...ihc,...jhc->...hij", queries, keys)
            mixed = jnp.einsum("...hij,...jhe->...ihe", sums, values)
        else:
            sums = jnp.einsum("...jhc,...jhe->...hce", keys, values)
            mixed = jnp.einsum("...ihc,...hce->...ihe", queries, sums)
        return self.scale * mixed.reshape(*frames.shape[:-3], *frames.shape[-2:])

    def first(self, input_shape: tuple[int, ...]) -> Literal["rows", "columns"]:
        """The product that comes first, for frames `[3, N, D]`."""
        if self.order not in ("auto", "rows", "columns"):
            raise ValueError(f"order must be auto, rows or columns, got {self.order!r}")
        if self.order != "auto":
            return self.order
        _, tokens, features = input_shape
        return "rows" if tokens <= features // self.heads else "columns"

    def stages(self, frames: jax.Array) -> tuple[Stage, Stage]:
        """The two products for spikes `[T, B, 3, N, D]`."""
        queries, keys, values = self._split(frames)
        tokens, width = frames.shape[-2], frames.shape[-1] // self.heads
        rows = self.first(frames.shape[-3:]) == "rows"
        stream, kept, last = (queries, keys, values) if rows else (keys, values, queries)
        # The sum over results is one product of sums; only the axes that both sides share are kept.
        meetings = "tbjhc,tbihc->b" if rows else "tbjhc,tbjhe->b"
        size, terms = (tokens, width) if rows else (width, tokens)
        return (
            Stage(
                name="rows" if rows else "columns",
                stream=stream,
                fan_out=size,
                terms=terms,
                results=(self.heads, size, size),
                operand=Operand(math.prod(kept.shape[2:]), sums=False),
                kept=kept,
                coincidences=jnp.einsum(meetings, kept, stream),
            ),
            Stage(
                name="mix" if rows else "ask",
                stream=last,
                fan_out=size,
                terms=size,
                results=tuple(frames.shape[-2:]),
                operand=Operand(self.heads * size**2, sums=True),
                kept=None,
                coincidences=None,
            ),
        )

    def _split(self, frames: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries, keys and values `[..., N, H, d]`."""
        if frames.ndim < 3 or frames.shape[-3] != 3 or frames.shape[-1] % self.heads:
            raise ValueError(
                f"expected queries, keys and values [..., 3, N, D] with D a multiple of "
                f"{self.heads} heads, got {list(frames.shape)}"
            )
        apart = frames.reshape(*frames.shape[:-1], self.heads, -1)
        return tuple(apart[..., i, :, :, :] for i in range(3))


def product_workloads(
    stages: tuple[Stage, ...],
    name: str,
    *,
    ops: NeuronOps,
    spiking: bool,
    per_step: bool,
    bias: bool,
    spikes: jax.Array,
    before: list[tuple[jax.Array, jax.Array | None]] | None = None,
    parameters: tuple[str, ...] = (),
    from_outside: bool | None = False,
) -> tuple[LayerWorkload, ...]:
    """Workloads of products, the last of them with the neurons that it feeds.

    Args:
        stages: the products.
        name: of the layer; its stages are `name/stage`.
        ops: state and operations of a neuron.
        spiking: whether the neurons fire.
        per_step: whether the readout decides at every step.
        bias: whether a folded normalisation leaves a bias.
        spikes: `[B, *out]` output spikes over the window.
        before: `Stage.totals` of each stage over the earlier pieces of the window.
        parameters: paths of the parameters of the layer (`Geometry.parameters`).
        from_outside: whether the spikes come from outside the network; None: unknown.
    """
    workloads = []
    if before is None:
        before = jax.tree.map(jnp.zeros_like, [stage.totals for stage in stages])
    for stage, (arrived_before, kept_before) in zip(stages, before, strict=True):
        last = stage is stages[-1]
        shape = spikes.shape[1:] if last else stage.results
        arrived, kept = stage.totals
        batch = arrived.shape[:1]
        active = newly_active(arrived_before, arrived_before + arrived)
        each = _each_step(stage.stream)
        kept_each, stored = jnp.zeros_like(each), None
        if stage.kept is not None:
            kept_each = _each_step(stage.kept)
            met = newly_active(kept_before, kept_before + kept).sum(-1)
            stored = Stored(kept.sum(-1), met, stage.coincidences)
        geometry = Geometry.of(
            Connectivity.uniform("product", arrived.shape[1], stage.fan_out, fan_in=stage.terms),
            ops if last else NO_OPS,
            shape,
            folded_bias=last and bias,
            name=f"{name}/{stage.name}",
            input_kind="spikes",
            spiking=last and spiking,
            per_step=last and per_step,
            operand=stage.operand,
            parameters=parameters,
            from_outside=from_outside,
        )
        workloads.append(
            LayerWorkload(
                events_by_fan_out=arrived.sum(-1, keepdims=True),
                active=active.sum(-1, keepdims=True),
                recurrent_events=jnp.zeros(batch, arrived.dtype),
                spikes=spikes if last else jnp.zeros((*batch, *shape), arrived.dtype),
                steps=stage.stream.shape[0],
                geometry=geometry,
                stored=stored,
                by_step=ByStep(each[..., None], jnp.zeros_like(each), kept_each),
            )
        )
    return tuple(workloads)


def _each_step(spikes: jax.Array) -> jax.Array:
    """`[T, B, ...]` to spikes `[B, T]`."""
    return spikes.reshape(*spikes.shape[:2], -1).sum(-1).T


def binary(frames: jax.Array, layer: str) -> jax.Array:
    """Values that a product counts, float32 or wider; NaN if they are not 0 or 1.

    Raises:
        ValueError: such values outside of `jit`; `layer` is the name in the message.

    >>> binary(jnp.array([[[True, False]]]), "attention").tolist()
    [[[1.0, 0.0]]]
    """
    values, checked = wide(frames), sent(frames).binary
    if checked:
        return values
    legal = (values == 0) | (values == 1)
    if not isinstance(values, jax.core.Tracer) and not bool(legal.all()):
        raise ValueError(
            f"layer {layer!r}: a product of spikes takes 0 and 1, found "
            f"{float(values[~legal][0]):g}; put a Spiking layer before it"
        )
    return jnp.where(legal, values, jnp.nan)

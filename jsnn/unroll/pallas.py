"""One kernel for the whole time loop, states in registers."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jsnn.neurons.protocol import Neuron, Params
from jsnn.unroll.contract import Carry, Readout, Recurrent
from jsnn.unroll.structure import bare, is_elementwise
from jsnn.unroll.trajectory import read


@dataclasses.dataclass(frozen=True)
class Pallas:
    """One Pallas kernel forward and one backward, each with the loop over time inside.

    A program of the kernel takes `block` neurons of the `B N` in a batch and steps them through the
    window with their state in registers; currents are read once and spikes written once. Backward
    takes the step's `jax.vjp` at the kept states, as `Fused` does. It needs only the neuron's step,
    which must be elementwise. A readout folds over the finished trajectory.

    Written for GPUs; anywhere else the kernel is interpreted, which is for tests.

    Attributes:
        block: neurons of one program, a power of two.

    Raises:
        ValueError: a block that is no power of two.

    Example:
        >>> from jsnn.neurons import LIF
        >>> from jsnn.unroll import unroll
        >>> params = LIF().init_params(jax.random.key(0), (2,))
        >>> state, spikes = unroll(LIF(), params, jnp.full((5, 1, 2), 0.3), plan=Pallas(block=2))
        >>> spikes[:, 0, 0]
        Array([0., 0., 0., 1., 0.], dtype=float32)
    """

    block: int = 256

    def __post_init__(self):
        if self.block < 1 or self.block & (self.block - 1):
            raise ValueError(f"Pallas: block must be a power of two, got {self.block!r}")

    def refuses(self, neuron: Neuron, recurrent: Recurrent | None) -> str | None:
        """Recurrence, and steps that mix neurons."""
        if recurrent is not None:
            return "recurrence mixes neurons that different programs of the kernel hold"
        if not is_elementwise(neuron):
            return f"a step of {type(neuron).__name__} is not elementwise"
        return None

    def run(
        self,
        neuron: Neuron,
        readout: Readout,
        params: Params,
        recurrent: None,
        currents: Array,
        times: Array,
        start: Carry,
    ) -> tuple[Carry, Any]:
        """See `jsnn.unroll.Plan`."""
        shape = currents.shape[1:]
        size = math.prod(shape)
        pad = -size % self.block

        def flat(leaf):
            # Ones are a legal value of every parameter.
            return jnp.pad(leaf.reshape(-1), (0, pad), constant_values=1)

        flat_params = {k: flat(jnp.broadcast_to(leaf, shape)) for k, leaf in params.items()}
        flat_state = jax.tree.map(flat, start.neuron)
        end, spikes, potentials = _kernels(
            neuron, self.block, flat_params, flat_state, jax.vmap(flat)(currents)
        )
        end, spikes, potentials = jax.tree.map(
            lambda leaf: leaf[..., :size].reshape(*leaf.shape[:-1], *shape),
            (end, spikes, potentials),
        )
        gathered, emissions = read(readout, start.gathered, potentials, spikes, times)
        last = None if start.spikes is None else spikes[-1]
        return Carry(end, last, gathered), emissions


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _kernels(neuron, block, params, state, currents):
    return _forward(neuron, block, params, state, currents)[0]


def _forward(neuron, block, params, state, currents):
    def kernel(params, state, currents, end, spikes, potentials, befores):
        values = _load(params)

        def step(t, state):
            _store(befores, state, t)
            state, sent = bare(neuron.step)(values, state, currents[t])
            spikes[t], potentials[t] = sent, neuron.potential(state)
            return state

        _store(end, jax.lax.fori_loop(0, len(currents), step, _load(state)))

    befores = jax.tree.map(lambda _: currents, state)
    results = state, currents, currents, befores
    end, spikes, potentials, befores = _launch(kernel, block, (params, state, currents), results)
    return (end, spikes, potentials), (params, currents, befores)


def _backward(neuron, block, saved, bars):
    params, currents, befores = saved
    steps = len(currents)

    def forward(params, state, current):
        state, sent = neuron.step(params, state, current)
        return state, sent, neuron.potential(state)

    def retreat(at, bars):
        return jax.vjp(forward, *at)[1](bars)

    def kernel(params, currents, befores, end, spikes, potentials, params_out, state_out, out):
        values = _load(params)

        def step(i, carry):
            totals, state_bar = carry
            t = steps - 1 - i

            before = jax.tree.map(lambda ref: ref[t], befores)
            share, state_bar, out[t] = bare(retreat)(
                (values, before, currents[t]), (state_bar, spikes[t], potentials[t])
            )
            return jax.tree.map(jnp.add, totals, share), state_bar

        start = jax.tree.map(jnp.zeros_like, values), _load(end)
        totals, state_bar = jax.lax.fori_loop(0, steps, step, start)
        _store(params_out, totals)
        _store(state_out, state_bar)

    arguments = params, currents, befores, *bars
    return _launch(kernel, block, arguments, (params, bars[0], currents))


_kernels.defvjp(_forward, _backward)


def _launch(kernel, block, arguments, results):
    """Run the kernel over blocks of the last axis; results have the shapes of `results`."""
    # Late, so that importing the package does not load a kernel language that few runs need.
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    def spec(leaf):
        if leaf.ndim == 1:
            return pl.BlockSpec((block,), lambda i: (i,))
        return pl.BlockSpec((leaf.shape[0], block), lambda i: (0, i))

    inputs, into = jax.tree.flatten(arguments)
    outputs, out_of = jax.tree.flatten(results)

    def flat_kernel(*refs):
        kernel(
            *jax.tree.unflatten(into, refs[: len(inputs)]),
            *jax.tree.unflatten(out_of, refs[len(inputs) :]),
        )

    done = pl.pallas_call(
        flat_kernel,
        out_shape=[jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in outputs],
        grid=(inputs[0].shape[-1] // block,),
        in_specs=[spec(leaf) for leaf in inputs],
        out_specs=[spec(leaf) for leaf in outputs],
        # The other GPU backend copies whole [T, block] windows into shared memory.
        compiler_params=triton.CompilerParams(),
        interpret=jax.default_backend() != "gpu",
    )(*inputs)
    return jax.tree.unflatten(out_of, done)


def _load(refs):
    return jax.tree.map(lambda ref: ref[...], refs)


def _store(refs, values, t=...):
    for ref, value in zip(jax.tree.leaves(refs), jax.tree.leaves(values), strict=True):
        ref[t] = value

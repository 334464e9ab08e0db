"""spyx: `nnx` layers stepped by `spyx.nn.run` (a scan), Adam in one jitted step.

Equations: it fires on the membrane of the step before, one step late a layer (so that `vgg` with
six steps sends nothing at its end); the reset is not detached and beta is trained. `shdrec` puts
the recurrence around its ALIF.
"""

import functools
import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np
import optax
import spyx.axn
import spyx.nn
from flax import nnx

from experiments.benchmarks import workloads
from experiments.benchmarks.contestant import Contestant
from experiments.benchmarks.workloads import BETA

RNGS = nnx.Rngs(0)
SPIKE = spyx.axn.superspike(workloads.SLOPE)


class Recurrent(nnx.Module):
    """Their ALIF with all-to-all feedback."""

    def __init__(self, neurons, array):
        decay = workloads.ADAPTATION_DECAY
        options = {"beta": BETA, "gamma": decay, "threshold": workloads.THRESHOLD}
        self.neurons = spyx.nn.ALIF((neurons,), **options, activation=SPIKE, rngs=RNGS)
        self.feedback = linear(array)
        self.size = neurons

    def __call__(self, currents, state):  # noqa: D102
        spikes, inner = self.neurons(currents + self.feedback(state[1]), state[0])
        return spikes, (inner, spikes)

    def initial_state(self, batch):  # noqa: D102
        return self.neurons.initial_state(batch), jnp.zeros((batch, self.size))


def linear(array):
    """`nnx.Linear` without bias."""
    layer = nnx.Linear(*array.shape, use_bias=False, rngs=RNGS)
    layer.kernel[...] = jnp.asarray(array)
    return layer


def conv(array):
    """`nnx.Conv` without bias."""
    layer = nnx.Conv(*array.shape[2:], (3, 3), padding="SAME", use_bias=False, rngs=RNGS)
    layer.kernel[...] = jnp.asarray(array)
    return layer


def build(workload):
    """The network."""
    arrays, layers = iter(workloads.weights(workload)), []
    for stage in workload.stages:
        if stage.kind == "pool":
            layers.append(functools.partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2)))
            continue
        if stage.kind == "flatten":
            layers.append(lambda images: images.reshape(images.shape[0], -1))
            continue
        layers.append((conv if stage.kind == "conv" else linear)(next(arrays)))
        space = (stage.size, stage.size) if stage.kind == "conv" else ()
        if stage.neurons == "lif":
            options = {"beta": BETA, "threshold": workloads.THRESHOLD, "activation": SPIKE}
            layers.append(spyx.nn.LIF((*space, stage.outputs), **options, rngs=RNGS))
        elif stage.neurons == "adaptive":
            layers.append(Recurrent(stage.outputs, next(arrays)))
        elif stage.neurons == "integrator":
            layers.append(spyx.nn.LI((stage.outputs,), beta=BETA, rngs=RNGS))
    return spyx.nn.Sequential(*layers)


def make(workload, mode, device):
    """See the package."""
    frames, labels = workloads.inputs(workload)
    if workload.still:
        frames = np.repeat(frames[None], workload.steps, 0)
    frames, labels = jnp.asarray(frames), jnp.asarray(labels, jnp.int32)
    versions = {name: importlib.metadata.version(name) for name in ("spyx", "jax", "flax")}
    info = {"versions": versions}
    net = build(workload)
    graph, params, rest = nnx.split(net, nnx.Param, ...)
    if workload.name == "stream":
        state = net.initial_state(workload.batch)

        @functools.partial(jax.jit, donate_argnums=1)
        def advance(params, state, frame):
            return nnx.merge(graph, params, rest)(frame, state)

        frame = np.asarray(frames[0])

        def one():
            nonlocal state
            out, state = advance(params, state, frame)
            return float(np.asarray(out)[0, 0])

        return Contestant({"stream": one}, info)

    def loss(params, frames):
        outputs, _ = spyx.nn.run(nnx.merge(graph, params, rest), frames)
        return optax.softmax_cross_entropy_with_integer_labels(outputs.mean(0), labels).mean()

    optimiser = optax.adam(workloads.LEARNING_RATE)

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, frames):
        params, moments = state
        value, grads = jax.value_and_grad(loss)(params, frames)
        changes, moments = optimiser.update(grads, moments, params)
        return (optax.apply_updates(params, changes), moments), value

    judged = jax.jit(loss)
    kept = jax.tree.map(jnp.copy, params)
    state = (params, optimiser.init(params))

    def step():
        nonlocal state
        state, value = update(state, frames)
        return float(value)

    return Contestant({"step": step, "forward": lambda: float(judged(kept, frames))}, info)

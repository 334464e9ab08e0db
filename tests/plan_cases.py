"""Populations on which the tests of plans agree, and what is compared."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsnn.neurons import ALIF, BRF, IF, LI, LIF, PLIF, RESETS, RF, AdLIF, CuBaLIF, Fixed, Normal
from jsnn.surrogate import ATan, Boxcar
from jsnn.unroll import DenseRecurrence, unroll

T, B, N = 12, 2, 5
RESETTING = {
    "if": functools.partial(IF, v_threshold=Normal(1.0, 0.2), r=Normal(0.7, 0.1)),
    "lif": functools.partial(LIF, tau_mem=Normal(8e-3, 2e-3), r=Normal(0.7, 0.1), v_leak=-0.1),
    "cubalif": functools.partial(CuBaLIF, tau_syn=Normal(4e-3, 1e-3), scale_input=True, r=5.0),
    "plif": functools.partial(PLIF, tau_mem=2e-3, v_reset=-0.2),
}
NEURONS = [
    *(make(reset=reset) for make in RESETTING.values() for reset in RESETS),
    LIF(reset="zero", v_reset=-0.2, strict=True, detach_reset=True, surrogate=Boxcar(4.0)),
    PLIF(reset="subtract", detach_reset=True),
    LI(tau_mem=Normal(8e-3, 2e-3), v_leak=0.2),
    ALIF(v_threshold=0.3, tau_adp=20e-3, surrogate=ATan()),
    AdLIF(detach_reset=True, strict=False),
    BRF(),
    RF(),
    Fixed(LIF(tau_mem=8e-3), 6, 2.0**-4, 6),
]
GAIN = {AdLIF: 20.0, BRF: 120.0, RF: 60.0, ALIF: 8.0, CuBaLIF: 2.0, PLIF: 3.0}
AFFINE = [n for n in NEURONS if getattr(n, "reset", "") == "none" or type(n) in (LI, RF)]


def name_of(neuron):
    """Neuron, reset and whether the reset is detached."""
    detached = "detached" if getattr(neuron, "detach_reset", False) else ""
    return f"{type(neuron).__name__} {getattr(neuron, 'reset', '')} {detached}".strip()


EVERY = pytest.mark.parametrize("neuron", NEURONS, ids=name_of)


def drawn(neuron, seed, dtype=np.float32):
    """Currents that make about every third step a spike, weights, and a random first state."""
    rng = np.random.default_rng(seed)
    currents = GAIN.get(type(neuron), 1.0) * rng.normal(0.4, 1.0, (T, B, N))
    params = neuron.init_params(jax.random.key(seed), (N,), dtype)
    state = neuron.init_state(params, (B, N), jax.random.key(seed + 1))
    weights = GAIN.get(type(neuron), 1.0) * rng.normal(0, 0.4, (N, N))
    seen = rng.normal(0, 1, (T, B, N))
    return params, state, *(jnp.asarray(x, dtype) for x in (currents, weights, seen))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def everything(neuron, way, recurrent, params, state, currents, weights, seen):
    """Spikes, last state, and gradients with respect to all that has one."""

    def loss(params, state, currents, weights):
        feedback = DenseRecurrence(weights) if recurrent else None
        before = {"spikes_before": seen[0]} if recurrent else {}
        last, spikes = unroll(
            neuron, params, currents, state, plan=way, recurrent=feedback, **before
        )
        weighed = sum((leaf * seen[1]).sum() for leaf in jax.tree.leaves(last))
        return (spikes * seen).sum() + weighed, (spikes, last)

    return jax.grad(loss, (0, 1, 2, 3), has_aux=True)(params, state, currents, weights)


def assert_close(got, want, rtol=1e-5):
    """Every leaf within rtol of the largest value of the leaf it should equal."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert g.shape == w.shape and g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * float(jnp.abs(w).max()))

"""The neuron in fixed point against integers, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn.neurons import ALIF, IF, LI, LIF, RESETS, Fixed
from jsnn.unroll import Fused, Scan, unroll

MODELS = [
    *(LIF(tau_mem=6e-3, reset=reset, v_reset=-0.3) for reset in RESETS),
    LIF(tau_mem=6e-3, strict=True, scale_input=True, r=8.0),
    IF(start=0.5),
    LI(tau_mem=3e-3, r=4.0),
]
STEPS, SHAPE = 20, (2, 5)


def integers(model, decay, currents, threshold, reset_to, start, bits, shift):
    """The neuron in Python integers: `decay / 2^shift`, round half to even, saturate."""

    def rounded(value, by):
        below, rest = divmod(value, 1 << by)
        return below + (2 * rest > 1 << by or (2 * rest == 1 << by and below % 2 == 1))

    top, v, trace = 2 ** (bits - 1), start, []
    for current in currents:
        v = rounded(v * decay, shift) if decay is not None else v
        v = min(max(v + current, -top), top - 1)
        fires = model.spiking and (v > threshold if model.strict else v >= threshold)
        if fires and model.reset == "subtract":
            v -= threshold
        elif fires and model.reset == "zero":
            v = reset_to
        trace.append((v, int(fires)))
    return trace


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_it_computes_as_integers_do(model):
    """One compilation for all widths: they are leaves."""
    neuron = Fixed(model)
    step = jax.jit(lambda p, s, c: neuron.step(p, s, c))
    plain = neuron.init_params(jax.random.key(0), SHAPE[1:])

    @settings(max_examples=8)
    @given(st.integers(3, 12), st.integers(-5, -1), st.integers(1, 8), st.integers(0, 9))
    def agree(bits, exponent, shift, seed):
        told = {"state_bits": bits, "state_step": 2.0**exponent, "decay_bits": shift, "gain": 1}
        told = {k: jnp.full(SHAPE[1:], float(v)) for k, v in told.items() if k in plain}
        params, unit = plain | told, 2.0**exponent
        whole = np.random.default_rng(seed).normal(1, 6, (STEPS, *SHAPE)).round().astype(int)
        state = neuron.init_state(params, SHAPE)
        trace = []
        for current in whole:
            state, spikes = step(params, state, jnp.asarray(current * unit, jnp.float32))
            trace.append((np.asarray(neuron.potential(state)) / unit, np.asarray(spikes)))
        half = 2 ** (bits - 1)
        decay = None
        if "decay_bits" in plain:
            decay = min(round(np.exp(-1e-3 / model.tau_mem) * 2**shift), 2**shift - 1)
        threshold = int(np.clip(round(1 / unit), 1, half - 1))
        reset_to = int(np.clip(np.rint(getattr(model, "v_reset", 0) / unit), -half, half - 1))
        start = int(np.clip(np.rint(getattr(model, "start", 0) / unit), -half, half - 1))
        for index in np.ndindex(SHAPE):
            own = [int(c) for c in whole[(slice(None), *index)]]
            expected = integers(model, decay, own, threshold, reset_to, start, bits, shift)
            for (v, s), (membranes, spikes) in zip(expected, trace, strict=True):
                assert membranes[index] == v
                if model.spiking:
                    assert spikes[index] == s

    agree()


def test_plans_agree_to_the_last_bit():
    neuron = Fixed(LIF(tau_mem=4e-3), 6, 2.0**-4, 5)
    params = neuron.init_params(jax.random.key(0), SHAPE[1:])
    currents = jax.random.normal(jax.random.key(1), (STEPS, *SHAPE)) + 0.3
    (end, spikes), (other, same) = (
        unroll(neuron, params, currents, plan=plan) for plan in (Scan(), Fused())
    )
    np.testing.assert_array_equal(spikes, same)
    np.testing.assert_array_equal(end.v, other.v)
    assert 0 < spikes.sum() < spikes.size


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fixed(ALIF()), "only LIF, IF and LI .* got ALIF"),
        (lambda: Fixed(LIF(v_leak=0.1)), "rests at 0, got v_leak 0.1"),
        (lambda: Fixed(state_bits=1), "state_bits of 2 or more"),
        (lambda: Fixed(decay_bits=0), "decay_bits of 1 or more"),
        (lambda: Fixed(state_bits=18, decay_bits=8), "not exact in float32"),
        (lambda: Fixed(state_step=0.0), "state_step must be positive"),
    ],
)
def test_what_makes_no_fixed_point(make, message):
    with pytest.raises(ValueError, match=message):
        make()

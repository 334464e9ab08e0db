"""Encoders against NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsnn.data import ENCODERS, Delta, Direct, Latency, Rate, Recorded, Shifted
from jsnn.data.sets.fsdd import level_crossings

KEY = jax.random.key(0)
STILL = np.random.default_rng(0).random((3, 4)).astype(np.float32)
ENCODER_CASES = [
    (Direct(5), STILL, "constant"),
    (Rate(5), STILL, "events"),
    (Latency(5), STILL, "events"),
    (Latency(5, tau=2.0), STILL, "events"),
    (Recorded(), np.ones((3, 5, 4), np.uint8), "events"),
    (Recorded(analog=True), np.ones((3, 5, 4), np.float32), "analog"),
]


@pytest.mark.parametrize(("encoder", "batch", "kind"), ENCODER_CASES)
def test_time_comes_first_in_float32_inside_jit_too(encoder, batch, kind):
    frames = encoder(KEY, batch)
    assert frames.shape == (5, 3, 4)
    assert frames.dtype == jnp.float32
    assert not frames.weak_type
    assert encoder.input_kind == kind
    jitted = jax.jit(encoder)(KEY, batch)
    np.testing.assert_array_equal(jitted, frames)


@pytest.mark.parametrize(("encoder", "batch", "kind"), ENCODER_CASES)
def test_encoders_are_hashable_and_compare_by_value(encoder, batch, kind):
    assert hash(encoder) == hash(type(encoder)(**vars(encoder)))
    assert encoder == type(encoder)(**vars(encoder))


def test_registry_names_every_encoder():
    assert set(ENCODERS.values()) == {Direct, Rate, Latency, Delta, Recorded}


@pytest.mark.parametrize("encoder", [Direct(3), Rate(3), Latency(3)])
def test_integer_pixels_are_divided_by_255(encoder):
    pixels = np.array([[0, 51, 255]], np.uint8)
    levels = np.array([[0, 0.2, 1]], np.float32)
    np.testing.assert_allclose(encoder(KEY, pixels), encoder(KEY, levels), rtol=1e-6)


@pytest.mark.parametrize("encoder", [Direct(3), Rate(3), Latency(3)])
@pytest.mark.parametrize("dtype", [np.int8, np.int32])
def test_other_integers_are_no_pixels(encoder, dtype):
    with pytest.raises(ValueError, match="expected uint8 pixels or floats, found int"):
        encoder(KEY, np.zeros((2, 3), dtype))


@pytest.mark.parametrize("encoder", [Direct, Rate, Latency])
def test_no_time_steps_are_refused(encoder):
    with pytest.raises(ValueError, match="at least one time step"):
        encoder(0)


@pytest.mark.parametrize("encoder", [Recorded(), Delta(0.1)])
@pytest.mark.parametrize("shape", [(2, 0, 3), (2, 3)])
def test_recordings_without_time_are_refused(encoder, shape):
    with pytest.raises(ValueError, match="T >= 1"):
        encoder(KEY, np.zeros(shape, np.float32))


@pytest.mark.parametrize("encoder", [Rate(3), Latency(3)])
@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_intensities_outside_unit_interval_are_refused(encoder, value):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        encoder(KEY, np.array([[value]], np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rate(3, gain=0),
        lambda: Rate(3, gain=1.5),
        lambda: Latency(3, tau=0.0),
        lambda: Latency(3, threshold=0.0),
        lambda: Latency(3, threshold=1.0),
        lambda: Delta(0.0),
        lambda: Delta(-1.0),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()


def test_direct_repeats_the_sample():
    np.testing.assert_array_equal(Direct(3)(KEY, STILL), np.stack([STILL] * 3))


def test_rate_has_the_right_mean_is_binary_and_follows_its_key():
    levels = np.array([[0.0, 0.1, 0.5, 1.0]], np.float32)
    frames = np.asarray(Rate(4000, gain=0.5)(KEY, levels))
    assert set(np.unique(frames)) == {0, 1}
    # Five standard errors of the largest variance, sqrt(.25 / 4000).
    np.testing.assert_allclose(frames.mean(0), 0.5 * levels, atol=0.04)
    assert frames[..., 0].sum() == 0
    again = Rate(4000, gain=0.5)(KEY, levels)
    np.testing.assert_array_equal(frames, again)
    assert (np.asarray(Rate(4000, gain=0.5)(jax.random.key(1), levels)) != frames).any()


def latency_loop(steps, tau, threshold, value):
    train = np.zeros(steps)
    if tau is None:
        if value >= threshold:
            train[int(np.round((steps - 1) * (1 - value)))] = 1
    elif value > threshold:
        time = int(np.floor(tau * np.log(value / (value - threshold))))
        if time < steps:
            train[time] = 1
    return train


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([1, 2, 9]),
    st.sampled_from([None, 0.7, 5.0]),
    st.integers(0, 2**31),
)
def test_latency_against_a_loop(steps, tau, seed):
    levels = np.random.default_rng(seed).random((2, 3)).astype(np.float32)
    levels[0, 0], levels[1, 1] = 0, 1
    result = np.asarray(Latency(steps, tau=tau, threshold=0.2)(KEY, levels))
    for index in np.ndindex(2, 3):
        expected = latency_loop(steps, tau, 0.2, np.float64(levels[index]))
        np.testing.assert_array_equal(result[(slice(None), *index)], expected)


def test_stronger_inputs_never_spike_later():
    levels = np.linspace(0.25, 1, 50, dtype=np.float32)[None]
    for encoder in (Latency(40, threshold=0.2), Latency(40, tau=20.0, threshold=0.2)):
        times = np.asarray(encoder(KEY, levels))[:, 0].argmax(0)
        assert (np.diff(times) <= 0).all() and times[0] > times[-1]


def delta_loop(signal, threshold, counts):
    reference, events = signal[0], []
    for value in signal:
        up = down = 0
        while value - reference >= threshold:
            reference, up = reference + threshold, up + 1
        while reference - value >= threshold:
            reference, down = reference - threshold, down + 1
        events.append([up, down] if counts else [min(up, 1), min(down, 1)])
    return np.array(events)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-40, 40), min_size=20, max_size=20), st.booleans())
def test_delta_against_a_loop(values, counts):
    # Quarters are exact in binary, so no crossing hangs on rounding.
    signal = np.array(values, np.float32) / 4
    result = Delta(0.5, counts=counts)(KEY, signal[None, :, None])
    np.testing.assert_array_equal(result[:, 0], delta_loop(signal, np.float32(0.5), counts))


def test_delta_fills_on_channels_first():
    signal = np.zeros((1, 2, 3), np.float32)
    signal[0, 1] = [1, -1, 0]
    frames = np.asarray(Delta(0.5)(KEY, signal))
    np.testing.assert_array_equal(frames[1, 0], [1, 0, 0, 0, 1, 0])


def test_delta_is_the_encoder_of_the_speech_front_end():
    levels = np.random.default_rng(0).integers(0, 160, (2, 30, 3)).astype(np.float32) / 4
    levels[:, 0] = 0
    expected = np.moveaxis(level_crossings(levels, 6.0), 1, 0)
    np.testing.assert_array_equal(Delta(6.0)(KEY, levels), expected)


def test_shifted_moves_every_step_of_a_sample_alike_and_loses_nothing_else():
    draw = np.random.default_rng(0)
    batch = draw.integers(0, 2, (6, 3, 5, 5, 1)).astype(np.uint8)
    moved = np.asarray(Shifted(Recorded(), 2)(KEY, jnp.asarray(batch)))
    result = set()
    for sample in range(6):
        fits = []
        for di in range(-2, 3):
            for dj in range(-2, 3):
                expected = np.zeros((3, 5, 5, 1))
                for i in range(5):
                    for j in range(5):
                        if 0 <= i - di < 5 and 0 <= j - dj < 5:
                            expected[:, i, j] = batch[sample, :, i - di, j - dj]
                if np.array_equal(expected, moved[:, sample]):
                    fits.append((di, dj))
        assert len(fits) == 1
        result.add(fits[0])
    assert len(result) > 2


def test_shifted_moves_along_both_axes_independently():
    """One pixel in the middle of 1,000 images: each of the 25 places is drawn 40 times or so."""
    batch = np.zeros((1000, 1, 5, 5, 1), np.uint8)
    batch[:, :, 2, 2] = 1
    moved = np.asarray(Shifted(Recorded(), 2)(KEY, jnp.asarray(batch)))
    times = moved[0].sum((0, -1))
    assert times.sum() == 1000
    # Four standard deviations of a binomial count.
    assert np.abs(times - 40).max() < 4 * np.sqrt(1000 * (1 / 25) * (24 / 25))


def test_shifted_refuses_what_is_no_image():
    with pytest.raises(ValueError, match="at least 1 pixel"):
        Shifted(Recorded(), 0)
    with pytest.raises(ValueError, match="found frames of shape"):
        Shifted(Recorded(), 1)(KEY, jnp.zeros((2, 3, 4), jnp.uint8))

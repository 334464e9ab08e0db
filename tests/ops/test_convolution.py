"""Convolution by rule against XLA's own: any strides, padding, dilation, groups, axes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jsnn._ops import convolution
from jsnn._ops.convolution import convolve

CASES = [
    # image, kernel, inputs, outputs, strides, padding, dilation, groups
    ((5, 6), (3, 3), 4, 6, (1, 1), "SAME", (1, 1), 1),
    ((2, 2), (3, 3), 3, 2, (1, 1), "SAME", (1, 1), 1),
    ((7, 6), (3, 2), 4, 6, (2, 3), "SAME", (1, 1), 2),
    ((7, 7), (2, 3), 6, 6, (1, 1), ((2, 1), (0, 3)), (2, 1), 3),
    ((8, 5), (3, 1), 2, 4, (2, 1), "VALID", (1, 2), 1),
    ((9,), (4,), 3, 3, (2,), ((3, 0),), (2,), 1),
    ((2, 3, 4), (2, 2, 3), 2, 4, (1, 1, 2), "SAME", (1, 1, 1), 2),
    ((1,), (5,), 2, 2, (1,), ((4, 4),), (1,), 2),
]


def arrays(case, seed=0, images=2):
    image, kernel, inputs, outputs, *_, groups = case
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((images, *image, inputs))
    return jnp.asarray(x), jnp.asarray(draw.standard_normal((*kernel, inputs // groups, outputs)))


def both(case):
    """Ours and XLA's as functions of image and kernel."""
    *_, strides, padding, dilation, groups = case
    axes = len(case[0])
    space = "DHW"[3 - axes :]
    names = (f"N{space}C", f"{space}IO", f"N{space}C")

    def bind(function):
        return lambda x, w: function(
            x,
            w,
            strides,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=lax.conv_dimension_numbers(x.shape, w.shape, names),
            feature_group_count=groups,
        )

    return bind(convolve), bind(lax.conv_general_dilated)


def compare(case, x, w, atol):
    def all_of(function):
        def passes(x, w):
            y, back = jax.vjp(function, x, w)
            g = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
            return y, *back(g)

        return jax.jit(passes)(x, w)

    for result, wanted in zip(*map(all_of, both(case)), strict=True):
        assert result.shape == wanted.shape and result.dtype == wanted.dtype
        np.testing.assert_allclose(result, wanted, atol=atol)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("columns", [0, 2**30], ids=["turned", "columns"])
def test_values_and_gradients_are_those_of_xla(case, columns, monkeypatch):
    monkeypatch.setattr(convolution, "_COLUMN_BYTES", columns)
    compare(case, *arrays(case), atol=1e-4)


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.sampled_from([1, 2]),
    st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2),
)
@settings(max_examples=10, derandomize=True, deadline=None)
def test_any_geometry_in_double_precision(image, kernel, strides, dilation, groups, pads):
    seen = zip(image, pads, kernel, dilation, strict=True)
    if any(size + sum(pad) < (taps - 1) * d + 1 for size, pad, taps, d in seen):
        return
    case = (image, kernel, 2, 4, strides, pads, dilation, groups)
    with jax.enable_x64(True):
        x, w = arrays(case)
        assert x.dtype == jnp.float64
        compare(case, x, w, atol=1e-12)


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=str)
def test_a_kernels_gradient_comes_in_pieces_and_what_is_left_over(case):
    compare(case, *arrays(case, images=2 * convolution._IMAGES + 3), atol=1e-4)


@pytest.mark.parametrize("outputs", [4, 7, 16])
def test_few_channels_are_taken_by_neighbours(outputs):
    case = ((6, 11), (3, 4), 3, outputs, (1, 2), ((1, 1), (2, 0)), (2, 1), 1)
    x, w = arrays(case)
    shape = convolution._Shape((1, 2), ((1, 1), (2, 0)), (2, 1), 1, None)
    assert convolution._narrow(shape, x, w)
    compare(case, x, w, atol=1e-4)


def test_in_a_scan_under_vmap_and_in_flax():
    case = CASES[0]
    x, w = arrays(case)
    ours, theirs = both(case)

    def total(function, w):
        step = lambda carry, image: (carry + jnp.sin(function(image, w)).sum(), None)  # noqa: E731
        return lax.scan(step, 0.0, jnp.stack([x, 2 * x]))[0]

    grads = [jax.jit(jax.grad(total, argnums=1), static_argnums=0)(f, w) for f in (ours, theirs)]
    np.testing.assert_allclose(*grads, rtol=1e-4, atol=1e-4)
    many = jnp.stack([w, -w])
    mapped = [jax.vmap(f, (None, 0))(x, many) for f in (ours, theirs)]
    np.testing.assert_allclose(*mapped, atol=1e-5)

    owner = nn.Conv(6, (3, 3), conv_general_dilated=convolve)
    variables = nn.Conv(6, (3, 3)).init(jax.random.key(0), x)
    result, wanted = owner.apply(variables, x), nn.Conv(6, (3, 3)).apply(variables, x)
    np.testing.assert_allclose(result, wanted, atol=1e-5)


def test_what_has_no_own_form_is_left_to_xla():
    x, w = arrays(CASES[0])
    dims = ("NHWC", "HWIO", "NHWC")
    plain = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": dims}
    plain["padding"] = ((1, 1), (1, 1))
    for more in ({"lhs_dilation": (2, 1)}, {"preferred_element_type": jnp.float32}):
        result = convolve(x, w, **plain, **more)
        np.testing.assert_array_equal(result, lax.conv_general_dilated(x, w, **plain, **more))
    turned = {"dimension_numbers": ("NCHW", "OIHW", "NCHW")}
    swapped = (jnp.moveaxis(x, -1, 1), jnp.transpose(w, (3, 2, 0, 1)))
    result = convolve(*swapped, (1, 1), "SAME", **turned)
    wanted = lax.conv_general_dilated(*swapped, (1, 1), "SAME", **turned)
    np.testing.assert_array_equal(result, wanted)

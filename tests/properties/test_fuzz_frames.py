"""Frames of any type, sign and scale: counted as NumPy counts them, or without an energy.

Every target is one compiled network; frames are drawn from few values, most of them legal. What
NumPy says of them is written here once more, from what the kinds mean.

By hand, with the figures kept:

    JSNN_FUZZ_EXAMPLES=2500 JSNN_FUZZ_FIGURES=experiments/results/fuzz
    python -m pytest tests/properties/test_fuzz_frames.py
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jsnn
from jsnn.hardware import get
from jsnn.neurons import IF, LI, LIF
from jsnn.nn.layers import Dropout, Flatten, Network, Pool, Residual, Spiking
from jsnn.nn.spike_products import Attention
from jsnn.nn.synapses import Conv
from jsnn.readouts import MeanMembrane, SpikeCount
from tests.fuzzing import Outcomes, examples

MACHINES = [get(name) for name in ("neuromorphic-22nm", "spatial-45nm", "loihi-14nm")]
# Products are priced by few machines.
PRODUCTS = [get(name) for name in ("compute-only-45nm", "classical-45nm", "spatial-45nm")]
STEPS, BATCH = 3, 2
EXAMPLES = 20


@dataclasses.dataclass(frozen=True)
class Target:
    """One network.

    Attributes:
        layers: of it, before a dense readout; the first spiking one gets what is drawn.
        shape: of a frame.
        kind: what frames are declared as.
        dtype: of the frames.
        unit: value of one event.
        pooled: average pool before the first spiking layer.
    """

    layers: tuple[nn.Module, ...]
    shape: tuple[int, ...]
    kind: str
    dtype: object = np.float32
    unit: float = 1.0
    pooled: int = 1

    @property
    def last(self) -> bool:
        layer = self.layers[-1]
        return isinstance(layer, Spiking) and layer.readout is not None


def dense(kind, **options):
    return (Spiking(nn.Dense(5), LIF(), input_kind=kind, **options),)


FLAT, IMAGE = (6,), (4, 4, 2)
TARGETS = {
    "spikes": Target(dense("spikes"), FLAT, "spikes"),
    "events": Target(dense("events"), FLAT, "events"),
    "analog": Target(dense("analog"), FLAT, "analog"),
    "constant": Target(dense("constant"), FLAT, "constant"),
    "events of a quarter": Target(dense("events", input_unit=0.25), FLAT, "events", unit=0.25),
    "spikes of a tenth": Target(dense("spikes", input_unit=0.1), FLAT, "spikes", unit=0.1),
    "spikes, int8": Target(dense("spikes"), FLAT, "spikes", np.int8),
    "events, int8": Target(dense("events"), FLAT, "events", np.int8),
    "events, uint8": Target(dense("events"), FLAT, "events", np.uint8),
    "analog, int16": Target(dense("analog"), FLAT, "analog", np.int16),
    "constant, bool": Target(dense("constant"), FLAT, "constant", np.bool_),
    "events, bfloat16": Target(dense("events"), FLAT, "events", jnp.bfloat16),
    "spikes, float16": Target(dense("spikes"), FLAT, "spikes", np.float16),
    "recurrent": Target(dense("events", recurrent=True), FLAT, "events"),
    "counted": Target(dense("events", readout=SpikeCount()), FLAT, "events"),
    "conv": Target((Spiking(nn.Conv(2, (3, 3)), IF(), "events"),), IMAGE, "events"),
    "conv along rows": Target((Spiking(Conv(2, 3), IF(), "spikes"),), IMAGE, "spikes", np.uint8),
    "average pool": Target(
        (Pool("average", 2), Spiking(Conv(2, (3, 3)), IF(), "events")), IMAGE, "events", pooled=2
    ),
    "flat sum": Target(
        (Flatten(), Dropout(0.0), *dense("events"), Residual(Spiking(nn.Dense(5), IF()))),
        IMAGE,
        "events",
    ),
    "product": Target((Spiking(Attention(1), IF(v_threshold=0.1)),), (3, 2, 4), "product"),
}


def compiled(target):
    readout = Spiking(nn.Dense(3), LI(), readout=MeanMembrane())
    model = Network(target.layers if target.last else (*target.layers, Flatten(), readout))
    frames = jnp.zeros((STEPS, BATCH, *target.shape))
    variables = jax.jit(model.init)(jax.random.key(0), frames)
    machines = PRODUCTS if target.kind == "product" else MACHINES

    @jax.jit
    def run(frames):
        _, workload = jsnn.run(model, variables, frames)
        pj = jnp.stack([jsnn.estimate_energy(workload, machine).total_pj() for machine in machines])
        return workload.layers[0].input_events, pj

    return run


OUTCOMES = Outcomes("frames")
SOME = [0, 1, 2, 3, 5, 0.25, 0.5, 0.1, 0.3, 0.7, -1, -2, -0.5, 100, 255, np.nan, np.inf, -np.inf]
# In a mean the least and the largest would be lost in rounding.
FAR = [1e-30, 1e9, 3e38]


@st.composite
def drawn(draw, target):
    """Frames `[T, B, ...]` of at most three values, in the type of the target."""
    known = st.sampled_from([0.0, 1.0]) | st.sampled_from(SOME + FAR * (target.pooled == 1))
    values = np.asarray(draw(st.lists(known, min_size=1, max_size=3)), np.float64)
    size = STEPS * BATCH * int(np.prod(target.shape))
    seed = draw(st.integers(0, 2**16))
    random = np.random.default_rng(seed)
    frames = random.choice(values, size).reshape(STEPS, BATCH, *target.shape)
    if target.kind == "constant" and draw(st.booleans()):
        frames = np.broadcast_to(frames[:1], frames.shape)
    if draw(st.booleans()):
        frames = frames * draw(st.sampled_from([target.unit, target.pooled**2]))
    whole = np.issubdtype(np.dtype(target.dtype), np.integer) or target.dtype is np.bool_
    if whole:
        low, high = (0, 1) if target.dtype is np.bool_ else _range(target.dtype)
        frames = np.clip(np.nan_to_num(frames, posinf=high, neginf=low), low, high).round()
    with np.errstate(over="ignore"):
        return frames.astype(target.dtype)


def _range(dtype):
    limits = np.iinfo(dtype)
    return limits.min, limits.max


@np.errstate(invalid="ignore")
def expected(target, frames):
    """`[B]` whether samples are legal, and the events that came into the first layer."""
    values = np.asarray(frames, np.float64)
    batch = np.moveaxis(values, 1, 0).reshape(BATCH, -1)
    finite = np.isfinite(batch).all(1)
    if target.kind == "analog":
        return finite, (batch != 0).sum(1)
    if target.kind == "constant":
        same = (values == values[:1]).all(axis=(0, *range(2, values.ndim)))
        first = values[0].reshape(BATCH, -1)
        return finite & same, (first != 0).sum(1)
    if target.kind == "product":
        legal = np.isin(batch, (0, 1)).all(1)
        # Queries or keys stream, whichever product comes first: with two tokens the queries.
        return legal, np.moveaxis(values[:, :, 0], 1, 0).reshape(BATCH, -1).sum(1)
    if target.pooled > 1:
        n = target.pooled
        shape = (STEPS, BATCH, IMAGE[0] // n, n, IMAGE[1] // n, n, IMAGE[2])
        values = values.reshape(shape).mean((3, 5))
        batch = np.moveaxis(values, 1, 0).reshape(BATCH, -1)
    number = batch / (target.unit / target.pooled**2)
    number = np.abs(number) if target.kind == "events" else number
    nearest = np.round(number)
    rounding = 0.0
    if jnp.issubdtype(target.dtype, jnp.floating):
        rounding = 2 * float(jnp.finfo(target.dtype).eps) * nearest
    fits = np.abs(number - nearest) <= np.minimum(1e-3 * nearest, 0.25) + rounding
    return finite & fits.all(1) & (number >= 0).all(1), nearest.sum(1)


@pytest.mark.parametrize("name", TARGETS)
def test_counted_as_numpy_counts_or_without_an_energy(name):
    target = TARGETS[name]
    run = compiled(target)

    @settings(max_examples=examples(EXAMPLES), suppress_health_check=list(HealthCheck))
    @given(drawn(target))
    def check(frames):
        events, pj = jax.tree.map(np.asarray, run(jnp.asarray(frames)))
        legal, count = expected(target, frames)
        for sample in range(BATCH):
            finite = np.isfinite(pj[:, sample])
            if not legal[sample]:
                OUTCOMES.add(name, "refused")
                assert not finite.any(), (pj[:, sample], frames[:, sample])
                continue
            largest = max(count[sample], np.abs(np.float64(frames[:, sample])).max())
            # Sums of events, and membranes, may leave float32; energies then are not finite either.
            if largest * 1e6 > np.finfo(np.float32).max and not finite.all():
                OUTCOMES.add(name, "too many to count")
                continue
            OUTCOMES.add(name, "counted")
            assert finite.all(), (pj[:, sample], frames[:, sample])
            assert (pj[:, sample] >= 0).all()
            np.testing.assert_allclose(events[sample], count[sample], rtol=1e-5)

    check()

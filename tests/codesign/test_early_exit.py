"""Early exit: what a sample pays that stops after k steps is what a run of k steps costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

import jsnn
from jsnn.codesign import early_exit
from jsnn.energy import estimate_energy
from jsnn.hardware import get
from jsnn.neurons import LI, LIF
from jsnn.nn.layers import Flatten, Network, Spiking
from jsnn.nn.spike_products import Attention
from jsnn.readouts import MaxMembrane, PerStep, SpikeCount
from jsnn.workload import Workload
from jsnn.workload.analytic import dense
from jsnn.workload.truncation import taken_at_rates

LOUD = LIF(v_threshold=0.3)
KEY = jax.random.key(0)
STEPS, BATCH = 3, 2
# A network, its frames and machines that price it. What a pass over the whole window does not keep
# step by step is in them: spikes behind a readout, fed back, and those of products.
CASES = {
    "recurrent": (
        jsnn.models.SRNN((5,), 3, neuron=LOUD, readout=SpikeCount(), readout_neuron=LOUD),
        1.0 * jax.random.bernoulli(KEY, 0.5, (STEPS, BATCH, 4)),
        ("neuromorphic-22nm", "spatial-45nm"),
    ),
    "attention": (
        Network(
            (
                Spiking(Attention(2), LOUD),
                Flatten(),
                Spiking(nn.Dense(3), LI(), readout=MaxMembrane()),
            )
        ),
        1.0 * jax.random.bernoulli(KEY, 0.6, (STEPS, BATCH, 3, 2, 4)),
        ("classical-45nm",),
    ),
    "constant": (
        jsnn.models.MLP((5,), 3, neuron=LOUD, readout=PerStep(decides=False)),
        jax.random.normal(KEY, (BATCH, 4)) * jnp.ones((STEPS, BATCH, 4)),
        ("neuromorphic-22nm",),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_prefix_is_what_running_that_sample_for_so_many_steps_says_and_costs(case):
    model, frames, names = CASES[case]
    machines = [get(name) for name in names]

    @jax.jit
    def both():
        variables = jax.jit(model.init)(KEY, frames)
        outputs, workload = early_exit.answers_by_step(model, variables, frames)
        estimates = [early_exit.energy_by_step(workload, machine) for machine in machines]
        alone = []
        for steps in range(1, STEPS + 1):
            for sample in range(BATCH):
                out, work = jsnn.run(model, variables, frames[:steps, sample : sample + 1])
                pj = [estimate_energy(work, machine).total_pj()[0] for machine in machines]
                alone.append((out.mean(0)[0] if out.ndim == 3 else out[0], pj))
        return outputs, estimates, alone, workload, jsnn.run(model, variables, frames)[1]

    outputs, estimates, alone, workload, whole = both()
    for (steps, sample), (out, pj) in zip(np.ndindex(STEPS, BATCH), alone, strict=True):
        np.testing.assert_allclose(outputs[steps, sample], out, atol=1e-5)
        np.testing.assert_allclose([b[steps, sample] for b in estimates], pj, rtol=1e-5)
    assert not any(taken_at_rates(layer) for layer in workload)
    assert workload.per_step == whole.per_step
    for result, expected in zip(workload, whole, strict=True):
        assert result.geometry == expected.geometry
        for name in ("events_by_fan_out", "active", "recurrent_events", "spikes", "stored"):
            jax.tree.map(
                np.testing.assert_array_equal, getattr(result, name), getattr(expected, name)
            )
    assert sum(layer.output_events.sum() for layer in workload) > 0


def by_hand(outputs, labels, pj, rule, threshold):
    """Sample by sample, step by step."""
    right, steps, energy = [], [], []
    for sample, label in enumerate(labels):
        for step, logits in enumerate(outputs[:, sample]):
            shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            second, best = np.sort(logits)[-2:]
            sure = {
                "softmax": shares.max(),
                "entropy": 1 + (shares * np.log(shares)).sum() / np.log(len(shares)),
                "margin": np.sort(shares)[-1] - np.sort(shares)[-2],
                "gap": best - second,
            }[rule]
            if sure > threshold or step == len(outputs) - 1:
                break
        right.append(logits.argmax() == label)
        steps.append(step + 1)
        energy.append(pj[step, sample])
    return np.mean(right), np.mean(steps), np.mean(energy)


TRADE_OFF = jax.jit(early_exit.trade_off, static_argnums=3)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(sorted(early_exit.RULES)), st.integers(0, 99))
def test_many_samples_at_once_are_a_loop_over_samples_and_steps(rule, seed):
    random = np.random.default_rng(seed)
    outputs = random.normal(size=(4, 6, 3)).astype(np.float32)
    labels, pj = random.integers(0, 3, 6), random.uniform(1, 2, (4, 6)).astype(np.float32)
    pj = pj.cumsum(0)
    thresholds = np.array([0.11, 0.35, 0.62, 0.83, np.inf], np.float32)
    result = TRADE_OFF(outputs, labels, pj, rule, thresholds)
    for number, threshold in enumerate(thresholds):
        expected = by_hand(outputs, labels, pj, rule, threshold)
        np.testing.assert_allclose([part[number] for part in result[1:4]], expected, rtol=1e-5)
    assert (np.diff(result.steps) >= 0).all() and (np.diff(result.pj) >= 0).all()
    assert (result.histogram.sum(1) == 6).all() and result.histogram[-1].tolist() == [0, 0, 0, 6]


def test_the_check_costs_its_compares():
    """An add each where additions are all that is priced: 0.9 pJ, of 2 a class and one beside."""
    work = Workload((dense(8, 3, steps=5, rate=0.1),))
    machine = get("compute-only-45nm")
    extra = (
        estimate_energy(early_exit.with_check(work, "gap"), machine).total_pj()
        - estimate_energy(work, machine).total_pj()
    )
    np.testing.assert_allclose(extra, 5 * (2 * 3 + 1) * 0.9, rtol=1e-5)


def test_the_cheapest_threshold_that_loses_no_more_is_chosen():
    thresholds = jnp.array([0.1, 0.5, 0.9, jnp.inf])
    accuracy, pj = jnp.array([0.7, 0.88, 0.91, 0.9]), jnp.array([1.0, 2.0, 3.0, 4.0])
    result = early_exit.TradeOff(thresholds, accuracy, pj, pj, jnp.zeros((4, 4)))
    assert [early_exit.choose(result, loss) for loss in (0.0, 0.02, 0.5)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda good: early_exit.choose(good, -0.1), "loss of accuracy of 0 or more"),
        (lambda good: early_exit.choose(good._replace(thresholds=jnp.zeros(2))), "infinity"),
        (
            lambda good: early_exit.with_check(
                Workload((dense(2, 2, steps=2, rate=0.1),)), "guess"
            ),
            "guess",
        ),
        (
            lambda good: early_exit.trade_off(
                jnp.ones((3, 2, 4)), jnp.ones(2), jnp.ones(2), "gap", [1]
            ),
            r"energies \[T, B\], found \[3, 2, 4\], \[2\] and \[2\]",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    two = jnp.array([1.0, jnp.inf])
    with pytest.raises(ValueError, match=message):
        call(early_exit.TradeOff(two, two, two, two, jnp.zeros((2, 2))))

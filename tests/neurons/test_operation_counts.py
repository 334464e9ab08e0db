"""Operations of every neuron: by hand from its equations, and by what its step computes."""

import dataclasses

import pytest

from jsnn.neurons import ALIF, BRF, IF, LI, LIF, NEURONS, PLIF, RF, AdLIF, CuBaLIF, Fixed
from tests.step_operations import operations

# Constants away from 0 and 1, so that none of them makes a product or a sum vanish by chance.
LEAKY = {"tau_mem": 7e-3, "v_threshold": 0.83, "r": 0.61}
IF_OF = {"v_threshold": 0.83, "r": 0.61}
PLIF_OF = {"tau_mem": 3.7e-3, "v_threshold": 0.83}
CUBA = LEAKY | {"tau_syn": 4.3e-3}
REST = {"v_leak": -0.13}
ZERO = {"reset": "zero", "v_reset": -0.21}
SAME = {"strict": True, "detach_reset": True}

# From the equations: states kept; multiplies, adds and compares of a step; adds for each spike.
BY_HAND = [
    # v <- v + I; v >= th; a spike takes th, or writes v_reset.
    (IF(**IF_OF), (1, 0, 0, 1, 1)),
    (IF(**IF_OF, **ZERO), (1, 0, 0, 1, 0)),
    (IF(**IF_OF, reset="none"), (1, 0, 0, 1, 0)),
    (IF(**IF_OF, start=0.5, **SAME), (1, 0, 0, 1, 1)),
    # v <- a v + I + (1 - a) v_leak, the last a constant that is only there for a rest.
    (LIF(**LEAKY), (1, 1, 1, 1, 1)),
    (LIF(**LEAKY, **ZERO), (1, 1, 1, 1, 0)),
    (LIF(**LEAKY, reset="none"), (1, 1, 1, 1, 0)),
    (LIF(**LEAKY, **REST), (1, 1, 2, 1, 1)),
    (LIF(**LEAKY, **REST, **ZERO), (1, 1, 2, 1, 0)),
    (LIF(**LEAKY, **REST, reset="none"), (1, 1, 2, 1, 0)),
    (LIF(**LEAKY, scale_input=True, **SAME), (1, 1, 1, 1, 1)),
    # i <- c i + I; v <- a v + i + (1 - a) v_leak: the gain of i sits in the weights.
    (CuBaLIF(**CUBA), (2, 2, 2, 1, 1)),
    (CuBaLIF(**CUBA, **ZERO), (2, 2, 2, 1, 0)),
    (CuBaLIF(**CUBA, reset="none"), (2, 2, 2, 1, 0)),
    (CuBaLIF(**CUBA, **REST), (2, 2, 3, 1, 1)),
    (CuBaLIF(**CUBA, **REST, **ZERO), (2, 2, 3, 1, 0)),
    (CuBaLIF(**CUBA, scale_input=True, **SAME), (2, 2, 2, 1, 1)),
    # v <- (1 - k) v + k I + k v_leak.
    (PLIF(**PLIF_OF), (1, 1, 1, 1, 0)),
    (PLIF(**PLIF_OF, v_reset=-0.21), (1, 1, 1, 1, 0)),
    (PLIF(**PLIF_OF, reset="subtract"), (1, 1, 1, 1, 1)),
    (PLIF(**PLIF_OF, reset="none"), (1, 1, 1, 1, 0)),
    (PLIF(**PLIF_OF, **REST), (1, 1, 2, 1, 0)),
    (PLIF(**PLIF_OF, **REST, reset="subtract", **SAME), (1, 1, 2, 1, 1)),
    # v <- a v + I + (1 - a) v_leak, and nothing to compare.
    (LI(tau_mem=7e-3, r=0.61), (1, 1, 1, 0, 0)),
    (LI(tau_mem=7e-3, r=0.61, scale_input=False), (1, 1, 1, 0, 0)),
    (LI(tau_mem=7e-3, r=0.61, v_leak=-0.13), (1, 1, 2, 0, 0)),
    # b <- rho b + (1 - rho) s; B = th + beta b; v <- alpha v + I - B s: three products (the paper
    # counts three multiply-accumulates a neuron), two sums, two adds a spike.
    (ALIF(7e-3, 130e-3, 0.83), (2, 3, 2, 1, 2)),
    (ALIF(7e-3, 130e-3, 0.83, beta=0.184, strict=False, detach_reset=True), (2, 3, 2, 1, 2)),
    # Without adaptation: B = th, and b is not kept.
    (ALIF(7e-3, 130e-3, 0.83, beta=0.0), (1, 1, 1, 1, 1)),
    # w <- beta w + a v + b s; v <- alpha v + (1 - alpha)(I - w) - alpha th s.
    (AdLIF(7e-3, 60e-3, 0.4, 1.3, 0.83), (2, 4, 3, 1, 2)),
    (AdLIF(7e-3, 60e-3, 0.4, 1.3, 0.83, strict=False, detach_reset=True), (2, 4, 3, 1, 2)),
    # B = c - dt q; u <- B u - W v + I; v <- W u + B v; u > th + q; q <- gamma q + s.
    (BRF(4.1, 0.57), (3, 5, 5, 1, 1)),
    (BRF(4.1, 0.57, v_threshold=0.83, gamma=0.71, strict=False), (3, 5, 5, 1, 1)),
    # u <- B u - W v + I; v <- W u + B v, B a constant; no reset.
    (RF(4.1, 0.57), (2, 4, 3, 1, 0)),
    (RF(4.1, 0.57, v_threshold=0.83, strict=False), (2, 4, 3, 1, 0)),
]
# Fields that add or take no operation, whatever their value: constants, gradients, the start.
FREE = {
    "trainable",
    *("tau_mem", "tau_syn", "tau_adp", "v_threshold", "r", "a", "b", "omega", "b_offset", "gamma"),
    *("dt", "surrogate", "detach_reset", "strict", "start", "v_reset", "scale_input"),
}
# States that the neuron's documentation keeps multiplied by a constant: the synaptic current takes
# its gain into the weights, the refractory period is kept times dt.
SCALED = {CuBaLIF: (1,), BRF: (2,)}
IDS = [f"{type(neuron).__name__}-{number}" for number, (neuron, _) in enumerate(BY_HAND)]


@pytest.mark.parametrize(("neuron", "expected"), BY_HAND, ids=IDS)
def test_the_table_says_what_the_equations_say(neuron, expected):
    assert tuple(neuron.ops) == expected


@pytest.mark.parametrize(("neuron", "expected"), BY_HAND, ids=IDS)
def test_the_step_computes_what_the_table_says(neuron, expected):
    assert tuple(operations(neuron, SCALED.get(type(neuron), ()))) == expected


@pytest.mark.parametrize(
    ("neuron", "more"), [(BRF(4.1, 0.57), 1), (CuBaLIF(**CUBA), 1), (LIF(**LEAKY), 0)]
)
def test_a_state_that_is_kept_as_it_is_costs_its_product(neuron, more):
    """What the documentation of two neurons moves into weights and thresholds is one multiply."""
    plain = operations(neuron)
    assert plain == neuron.ops._replace(multiplies=neuron.ops.multiplies + more)


def test_every_neuron_and_option_is_in_the_table():
    assert {type(neuron) for neuron, _ in BY_HAND} == set(NEURONS.values())
    for kind in NEURONS.values():
        listed = [neuron for neuron, _ in BY_HAND if type(neuron) is kind]
        for field in dataclasses.fields(kind):
            values = {getattr(neuron, field.name) for neuron in listed}
            if field.name == "reset":
                assert values == {"subtract", "zero", "none"}, kind
            elif field.name not in FREE:
                assert len(values) > 1, f"{kind.__name__}.{field.name} has one value in the table"


@pytest.mark.parametrize("inner", [LIF(**LEAKY), LIF(**LEAKY, **ZERO), IF(**IF_OF), LI()])
def test_fixed_point_computes_the_same(inner):
    """Roundings are shifts and saturation is a carry: no operation of their own."""
    (expected,) = (ops for neuron, ops in BY_HAND if _same_dynamics(neuron, inner))
    assert tuple(Fixed(inner).ops) == expected


def _same_dynamics(neuron, inner):
    dynamics = ("reset", "v_leak", "scale_input", "start")
    return type(neuron) is type(inner) and all(
        getattr(neuron, name, None) == getattr(inner, name, None) for name in dynamics
    )

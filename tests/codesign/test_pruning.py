"""Pruned units and weights: the network, its energy and what is exported agree."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jsnn
import jsnn.workload.analytic
from jsnn.codesign.early_exit import answers_by_step, energy_by_step
from jsnn.codesign.pruning.compact import compact, row, sparse
from jsnn.codesign.pruning.masks import magnitude_mask, masked
from jsnn.codesign.pruning.pruning import UnitPruning, WeightPruning
from jsnn.codesign.pruning.sizes import fan_out, index_bits, listed, narrowed
from jsnn.energy import estimate_energy, estimate_layers, tally
from jsnn.energy.audit import audit
from jsnn.hardware import get
from jsnn.models import MLP, SRNN, ConvNet, Spikformer
from jsnn.neurons import LIF
from jsnn.nn.event_counts import brought
from jsnn.nn.layers import Network, Spiking
from jsnn.nn.recording import record
from jsnn.nn.time_plan import Chunked
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.levers import Levered, price, split
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective, active_share, energy_terms
from jsnn.train.optimiser import make_optimiser
from jsnn.train.state import init_state, start_terms
from jsnn.train.step import make_train_step
from jsnn.workload import Workload
from jsnn.workload.truncation import rescale, truncate

DERIVED = ("classical-45nm", "event-45nm", "spatial-45nm")
MACHINES = (*DERIVED, "neuromorphic-22nm", "hierarchy-45nm")

KEY = jax.random.key(0)
FLAT = (jax.random.uniform(jax.random.key(3), (6, 3, 12)) < 0.4).astype(jnp.float32)
IMAGES = (jax.random.uniform(jax.random.key(4), (4, 2, 8, 8, 2)) < 0.3).astype(jnp.float32)
# Compiled: a run operation by operation takes longer to start than to finish.
ran = jax.jit(jsnn.run, static_argnums=0)
CASES = {
    "events": (MLP((9, 7), 3, input_kind="events"), FLAT),
    "constant": (MLP((9, 7), 3, norm=True), FLAT.at[:].set(FLAT[0])),
    "recurrent": (SRNN((9, 7), 3), FLAT),
    "images": (ConvNet((6, 5), 3, hidden=7, input_kind="events"), IMAGES),
}


def dyadic(variables):
    """Weights in sixteenths: sums over spikes are exact in any order."""
    params = jax.tree.map(lambda leaf: jnp.round(leaf * 16) / 16, variables["params"])
    return {**variables, "params": params}


def with_some_closed(model, frames, seed=1):
    """A levered network whose gates are about half closed."""
    levered = Levered(model, (UnitPruning(),))
    variables = dyadic(jax.jit(levered.init)(KEY, frames))
    scores = {
        name: jax.random.normal(jax.random.fold_in(jax.random.key(seed), depth), leaf.shape)
        for depth, (name, leaf) in enumerate(split(variables["params"])[1]["units"].items())
    }
    network, _ = split(variables["params"])
    return levered, variables | {"params": {"network": network, "levers": {"units": scores}}}


def written_out(levered, variables):
    network, leaves = split(variables["params"])
    kept = levered.levers[0].kept(leaves["units"])
    return compact(levered.model, variables | {"params": network}, kept)


@pytest.mark.parametrize(
    ("case", "machines"),
    [("constant", MACHINES[3:]), ("recurrent", MACHINES), ("images", (*DERIVED[::2], MACHINES[4]))],
)
def test_what_is_written_out_is_smaller_and_the_same(case, machines):
    model, frames = CASES[case]
    levered, variables = with_some_closed(model, frames)
    outputs, workload = ran(levered, variables, frames)
    small, fewer = written_out(levered, variables)
    expected, small_work = ran(small, fewer, frames)
    np.testing.assert_array_equal(outputs, expected)
    assert sum(x.size for x in jax.tree.leaves(fewer)) < sum(
        x.size for x in jax.tree.leaves((split(variables["params"])[0], variables["constants"]))
    )
    spikes = 0
    for before, after in zip(workload, small_work, strict=True):
        # A unit that is gone never fired.
        np.testing.assert_array_equal(before.output_events, after.output_events)
        np.testing.assert_array_equal(before.input_events, after.input_events)
        spikes += float(after.output_events.sum())
    assert spikes > 0

    @jax.jit
    def estimates(workload, params, small_work):
        objectives = {
            name: Objective(CrossEntropy(), get(name), levers=levered.levers) for name in machines
        }
        relaxed = {name: one.estimate_energy(workload, params) for name, one in objectives.items()}
        exact = {name: estimate_energy(small_work, get(name)) for name in machines}
        return relaxed, exact, estimate_layers([(layer, get(machines[-1])) for layer in workload])

    relaxed, exact, whole = estimates(workload, variables["params"], small_work)
    for name in machines:
        np.testing.assert_allclose(
            relaxed[name].parts_pj, exact[name].parts_pj, rtol=2e-6, atol=1e-9
        )
    assert (relaxed[machines[-1]].total_pj() < whole.total_pj()).all()


@pytest.mark.parametrize("name", ["spatial-45nm", "hierarchy-45nm"])
def test_every_open_unit_costs_and_every_closed_one_would(name):
    model, frames = CASES["recurrent"]
    levered, variables = with_some_closed(model, frames)
    _, workload = ran(levered, variables, frames)
    network, leaves = split(variables["params"])
    pairs = [(layer, get(name)) for layer in workload]

    @jax.jit
    def slope(scores):
        def total(scores):
            priced = levered.levers[0].price(scores, network, pairs)
            return estimate_layers(priced, temperature=0.5).total_pj().mean()

        return jax.grad(total)(scores)

    for gradient in jax.tree.leaves(slope(leaves["units"])):
        assert (gradient > 0).all()


def test_the_auditor_counts_the_smaller_network():
    levered, variables = with_some_closed(*CASES["recurrent"])
    small, fewer = written_out(levered, variables)
    _, workload = ran(levered, variables, FLAT)
    for name in DERIVED:
        audited = audit(record(small, fewer, FLAT), get(name))
        objective = Objective(CrossEntropy(), get(name), levers=levered.levers)
        result = objective.estimate_energy(workload, variables["params"])
        np.testing.assert_allclose(result.parts_pj, audited.parts_pj, rtol=2e-6, atol=1e-9)


def test_a_closed_gate_learns_and_its_unit_too():
    levered, variables = with_some_closed(*CASES["events"])

    def loss(params):
        outputs, _ = jsnn.run(levered, {**variables, "params": params}, FLAT)
        return jnp.square(outputs - 1).sum()

    network, leaves = split(jax.jit(jax.grad(loss))(variables["params"]))
    closed = np.asarray(split(variables["params"])[1]["units"]["hidden_0"] <= 0)
    assert closed.any()
    assert (np.asarray(leaves["units"]["hidden_0"])[closed] != 0).any()
    assert (np.asarray(network["hidden_0"]["synapse"]["kernel"])[:, closed] != 0).any()


def test_training_under_a_energy_closes_units_and_keeps_one():
    model = Levered(MLP((16,), 3, input_kind="events"), (UnitPruning(),))
    machine = get(MACHINES[3])
    objective = Objective(CrossEntropy(), machine, energy_terms(100.0), levers=model.levers)
    optimiser = make_optimiser(2e-2, 60, schedule="constant", levers={"units": 10.0})
    samples, labels = jnp.swapaxes(FLAT, 0, 1), jnp.array([0, 1, 2])

    def encoder(key, samples):
        return jnp.swapaxes(samples, 0, 1)

    state = init_state(model, optimiser, FLAT, seed=0)
    state, first = start_terms(state, model, objective, encoder, samples)
    step = make_train_step(model, objective, optimiser, encoder, plan=Chunked(3))
    for _ in range(40):
        state, terms = step(state, (samples, labels), jnp.arange(3))
    assert bool(terms["finite"])
    (kept,) = model.levers[0].kept(split(state.params)[1]["units"]).values()
    assert kept.sum() == 1
    assert float(terms["total_pj"]) < 0.5 * float(first.total_pj().mean())


def test_units_that_are_gone_are_not_dead():
    levered, variables = with_some_closed(*CASES["events"])
    _, workload = ran(levered, variables, FLAT)
    leaves = split(variables["params"])[1]["units"]
    pairs = levered.levers[0].price(leaves, None, [(layer, None) for layer in workload])
    small, fewer = written_out(levered, variables)
    expected = active_share(ran(small, fewer, FLAT)[1])
    np.testing.assert_allclose(
        active_share(Workload(tuple(l for l, _ in pairs))), expected, rtol=1e-5
    )


def half_masks(params, seed=2):
    """About half of the weights of each tensor, not the same share of each input."""
    rng = np.random.default_rng(seed)

    def mask(weights):
        share = rng.uniform(0.1, 0.9, (*weights.shape[:-1], 1))
        return rng.uniform(size=weights.shape) < share

    result = {name: {"kernel": mask(layer["synapse"]["kernel"])} for name, layer in params.items()}
    for name, layer in params.items():
        if "recurrent" in layer:
            result[name]["recurrent"] = mask(layer["recurrent"])
    return result


def each_step(layer):
    shown = layer.frames[:1] if layer.input_kind == "constant" else layer.frames
    return brought(shown, layer.input_kind, layer.input_unit)


@pytest.mark.parametrize(
    ("case", "machines"), [("constant", MACHINES[:4]), ("images", ("spatial-45nm",))]
)
def test_weights_that_are_left_are_counted_one_by_one(case, machines):
    model, frames = CASES[case]
    variables = jax.jit(model.init)(KEY, frames)
    kept = half_masks(variables["params"])
    thin = variables | {"params": masked(variables["params"], kept)}
    recorded = record(model, thin, frames)
    _, workload = ran(model, thin, frames)
    walked = [
        dataclasses.replace(layer, kept=kept[layer.name]["kernel"], index_bits=index_bits(work))
        for layer, work in zip(recorded, workload, strict=True)
    ]
    listed_work = Workload(
        tuple(
            listed(work, kept[layer.name]["kernel"], brought=each_step(layer))
            for work, layer in zip(workload, recorded, strict=True)
        )
    )
    for name in machines:
        audited = audit(walked, get(name))
        for work, layer in zip(listed_work, audited.layers, strict=True):
            for ours, theirs in zip(tally(work, get(name)), layer.counts, strict=True):
                happened = {key for counts in theirs for key in counts}
                for key in happened:
                    expected = [float(counts.get(key, 0)) for counts in theirs]
                    np.testing.assert_allclose(ours[key], expected, rtol=1e-6, err_msg=str(key))
        result = estimate_energy(listed_work, get(name))
        np.testing.assert_allclose(result.parts_pj, audited.parts_pj, rtol=2e-6, atol=1e-9)
        # When it came in is not known in training: a machine may then choose less well.
        lists = [(listed(work, kept[work.geometry.name]["kernel"]), get(name)) for work in workload]
        once, steps = estimate_layers(lists).total_pj(), result.total_pj()
        assert (once >= steps * (1 - 1e-6)).all()
        if name != "spatial-45nm":
            np.testing.assert_allclose(once, steps, rtol=1e-6)


def test_the_mean_of_a_layer_is_exact_where_its_inputs_keep_the_same():
    model, frames = CASES["events"]
    variables = jax.jit(model.init)(KEY, frames)
    (layer, *_), (work, *_) = (
        record(model, variables, frames),
        ran(model, variables, frames)[1],
    )
    blind = dataclasses.replace(work, by_input=None)
    rng = np.random.default_rng(5)
    same = np.stack([rng.permutation(9) < 4 for _ in range(12)])
    uneven = half_masks(variables["params"])["hidden_0"]["kernel"]
    for name in ("spatial-45nm", "neuromorphic-22nm"):
        exact = estimate_layers(
            [(listed(work, same, brought=each_step(layer)), get(name))]
        ).parts_pj
        mean = estimate_layers([(listed(blind, same), get(name))]).parts_pj
        np.testing.assert_allclose(mean, exact, rtol=1e-6)
    count = np.abs(np.asarray(frames)).sum(0) @ uneven.sum(1)
    np.testing.assert_allclose(listed(work, uneven).synops, count, rtol=1e-6)
    assert (np.asarray(listed(blind, uneven).synops) != count).any()


def test_recurrent_weights_count_with_their_mean():
    model, frames = CASES["recurrent"]
    variables = jax.jit(model.init)(KEY, frames)
    kept = half_masks(variables["params"])["hidden_0"]
    (work, *_) = ran(model, variables, frames)[1]
    thin = listed(work, kept["kernel"], kept["recurrent"])
    fed_back = np.asarray(work.recurrent_events)
    np.testing.assert_allclose(thin.recurrent_synops, fed_back * kept["recurrent"].sum() / 9)
    for name in ("event-45nm", "hierarchy-45nm"):
        less = estimate_layers([(thin, get(name))]).total_pj()
        more = estimate_layers([(listed(work, kept["kernel"]), get(name))]).total_pj()
        assert (less < more).all()


def test_fan_out_of_a_convolution_is_that_of_its_wires():
    model, frames = CASES["images"]
    variables = jax.jit(model.init)(KEY, frames)
    layer, work = record(model, variables, frames)[1], ran(model, variables, frames)[1].layers[1]
    kept = half_masks({"a": {"synapse": {"kernel": np.zeros((3, 3, 6, 5))}}})["a"]["kernel"]
    walked = dataclasses.replace(layer, kept=kept).wires
    result = fan_out(work.geometry, layer.input_shape, kept)
    np.testing.assert_array_equal(result.ravel(), [to.size for to, _ in walked])
    with pytest.raises(ValueError, match=r"conv_1: expected a mask .* \[3, 3, 6, 5\]"):
        fan_out(work.geometry, layer.input_shape, kept[:2])


def thresholded(start):
    levered = Levered(CASES["recurrent"][0], (WeightPruning(start=start),))
    return levered, jax.jit(levered.init)(KEY, FLAT)


def test_a_threshold_leaves_what_is_above_it_in_network_and_energy():
    levered, variables = thresholded(0.7)
    network, leaves = split(variables["params"])
    kept = levered.levers[0].kept(leaves["weights"], network)
    for name, which in (("hidden_0", "kernel"), ("hidden_1", "recurrent"), ("readout", "kernel")):
        layer = network[name]
        weights = np.asarray(
            layer["recurrent"] if which == "recurrent" else layer["synapse"]["kernel"]
        )
        over = np.abs(weights) > 0.7 * np.sqrt(np.square(weights).mean())
        np.testing.assert_array_equal(kept[name][which], over)
    outputs, workload = ran(levered, variables, FLAT)
    thin = {**variables, "params": masked(network, kept)}
    np.testing.assert_array_equal(outputs, ran(levered.model, thin, FLAT)[0])
    objective = Objective(CrossEntropy(), get("event-45nm"), levers=levered.levers)
    geometry = levered.levers[0].price(
        leaves["weights"], network, [(workload.layers[0], get("event-45nm"))]
    )
    assert int(geometry[0][0].geometry.weights) == int(kept["hidden_0"]["kernel"].sum())
    assert int(geometry[0][0].geometry.recurrent_weights) == int(
        kept["hidden_0"]["recurrent"].sum()
    )
    assert (objective.estimate_energy(workload, variables["params"]).total_pj() > 0).all()


@pytest.mark.parametrize("name", ["event-45nm", "neuromorphic-22nm"])
def test_a_higher_threshold_is_cheaper_where_zeros_are_skipped(name):
    levered, variables = thresholded(0.7)
    _, workload = ran(levered, variables, FLAT)
    network, leaves = split(variables["params"])
    pairs = [(layer, get(name)) for layer in workload]

    @jax.jit
    def total(leaves):
        return (
            estimate_layers(levered.levers[0].price(leaves, network, pairs), 0.5).total_pj().mean()
        )

    higher = jax.tree.map(lambda leaf: leaf + 0.5, leaves["weights"])
    assert total(higher) < total(leaves["weights"])
    for gradient in jax.tree.leaves(jax.jit(jax.grad(total))(leaves["weights"])):
        assert gradient < 0
    indifferent = WeightPruning(skipping=False)
    assert indifferent.price(higher, network, pairs) == pairs


def test_something_of_every_tensor_is_left():
    levered, variables = thresholded(1e3)
    network, leaves = split(variables["params"])
    for mask in jax.tree.leaves(levered.levers[0].kept(leaves["weights"], network)):
        assert mask.sum() == 1
    scores = {"hidden_0": jnp.array([-3.0, -1.0, -2.0])}
    assert UnitPruning().kept(scores)["hidden_0"].tolist() == [False, True, False]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.floats(0.01, 1.0), st.integers(0, 100))
def test_a_magnitude_mask_keeps_the_largest(density, seed):
    weights = np.random.default_rng(seed).normal(size=(5, 8)).astype(np.float32)
    mask = np.asarray(
        magnitude_mask({"a": {"synapse": {"kernel": weights}}}, density)["a"]["kernel"]
    )
    assert mask.sum() == max(1, round(density * 40))
    if not mask.all():
        assert np.abs(weights[mask]).min() >= np.abs(weights[~mask]).max()


def test_lists_of_weights_hold_the_tensor_and_say_how_much_they_take():
    model, frames = CASES["images"]
    params = jax.jit(model.init)(KEY, frames)["params"]
    kept = half_masks(params)
    result = sparse(params, kept)
    for name, masks in kept.items():
        stored, thin = result[name]["kernel"], masked(params, kept)[name]["synapse"]["kernel"]
        np.testing.assert_array_equal(stored.dense(), thin)
        assert stored.values.size == masks["kernel"].sum()
    # 3 x 3 places of the kernel and 5 channels: 45 targets.
    stored = result["conv_1"]["kernel"]
    assert stored.index_bits == 6
    assert stored.bytes(8) == -(-stored.values.size * 14 // 8)


def test_a_smaller_network_survives_a_checkpoint(tmp_path):
    levered, variables = with_some_closed(*CASES["constant"])
    small, fewer = written_out(levered, variables)
    blank = jax.tree.map(jnp.zeros_like, dict(jax.jit(small.init)(KEY, CASES["constant"][1])))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, fewer, {"widths": list(small.widths)})
    read, written = checkpoints.restore(blank)
    assert written["widths"] == list(small.widths)
    jax.tree.map(np.testing.assert_array_equal, read, fewer)


def test_machines_that_walk_every_weight_say_so():
    levered, variables = thresholded(0.7)
    _, workload = ran(levered, variables, FLAT)
    objective = Objective(CrossEntropy(), get("sata"), levers=levered.levers)
    with pytest.raises(ValueError, match="does not skip weights"):
        objective.estimate_energy(workload, variables["params"])
    with pytest.raises(ValueError, match="stored with their addresses"):
        estimate_energy(Workload((listed(workload.layers[0], np.ones((12, 9))),)), get("sata"))


def test_networks_that_are_no_row_are_refused():
    with pytest.raises(ValueError, match="row of layers"):
        jax.eval_shape(
            Levered(Spikformer((8,), 3, heads=1), (UnitPruning(),)).init,
            KEY,
            jnp.ones((1, 1, 4, 4, 1)),
        )
    one = Network((Spiking(nn.Dense(3), LIF()),))
    with pytest.raises(ValueError, match="expected a hidden layer"):
        Levered(one, (UnitPruning(),)).init(KEY, FLAT)
    with pytest.raises(TypeError, match="row of layers"):
        compact(one, {"params": {}}, {})


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({"hidden_0": np.zeros(9)}, "no unit is kept"),
        ({"hidden_0": np.ones(8)}, "expected 9 gates"),
        ({"readout": np.ones(3)}, "no hidden layers"),
    ],
)
def test_gates_that_do_not_fit_are_refused(kept, words):
    model, frames = CASES["events"]
    with pytest.raises(ValueError, match=words):
        compact(model, jax.jit(model.init)(KEY, frames), kept)


def test_neurons_that_fire_by_themselves_are_not_silenced_by_a_gate():
    restless = MLP((4,), 3, neuron=LIF(v_leak=2.0), input_kind="events")
    variables = jax.jit(restless.init)(KEY, FLAT)
    assert row(restless) == ("hidden_0", "readout")
    with pytest.raises(ValueError, match="fire without input"):
        compact(restless, variables, {"hidden_0": np.array([True, True, False, True])})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: UnitPruning(slope=0.0), "slope must be positive"),
        (lambda: UnitPruning(spread=-1.0), "spread must not"),
        (lambda: WeightPruning(start=0.0), "start must be positive"),
        (lambda: magnitude_mask({}, 0.0), "density must lie"),
        (lambda: magnitude_mask({"a": {"w": 1}}, 0.5), "row of layers"),
        (lambda: narrowed(hypothetical().geometry, 3), "together"),
        (lambda: narrowed(hypothetical().geometry, 3, input_channels=4), "does not split"),
    ],
)
def test_bad_input_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def hypothetical():
    return jsnn.workload.analytic.dense(6, 4, steps=2, rate=0.5)


@pytest.mark.parametrize("case", CASES)
def test_from_where_it_came_sums_up_to_what_came(case):
    model, frames = CASES[case]
    variables, length = jax.jit(model.init)(KEY, frames), len(frames)
    _, whole = ran(model, variables, frames)
    _, chunked = jax.jit(lambda v, f: jsnn.run(model, v, f, plan=Chunked(3)))(variables, frames)
    _, stepwise = jax.jit(functools.partial(answers_by_step, model))(variables, frames)
    for workload in (
        whole,
        chunked,
        stepwise,
        truncate(whole, length),
        truncate(whole, 2),
        rescale(whole, 9),
    ):
        for layer, first in zip(workload, whole, strict=True):
            assert layer.by_input.shape == first.by_input.shape
            came = layer.by_input.reshape(len(layer.by_input), -1).sum(1)
            np.testing.assert_allclose(came, layer.input_events, rtol=1e-5)
    for other in (chunked, stepwise, truncate(whole, length)):
        for layer, first in zip(other, whole, strict=True):
            np.testing.assert_allclose(layer.by_input, first.by_input, rtol=1e-5)
    for layer in whole.silenced():
        assert layer.geometry.input_kind != "spikes" or not layer.by_input.any()


@pytest.mark.parametrize("case", ["events", "images"])
def test_weights_behind_busy_inputs_cost_more(case):
    model, frames = CASES[case]
    levered = Levered(model, (WeightPruning(start=0.7),))
    variables = jax.jit(levered.init)(KEY, frames)
    _, workload = ran(levered, variables, frames)
    network, leaves = split(variables["params"])
    first, machine = workload.layers[0], get("neuromorphic-22nm")
    name = first.geometry.name

    def pj(kernel):
        given = {**network, name: {**network[name], "synapse": {"kernel": kernel}}}
        return estimate_layers(
            levered.levers[0].price({name: leaves["weights"][name]}, given, [(first, machine)])
        ).total_pj()

    # Of one size, so that all are as close to the threshold.
    kernel = jnp.ones_like(network[name]["synapse"]["kernel"])
    felt = jax.jit(jax.grad(lambda kernel: pj(kernel).mean()))(kernel)
    felt = felt.reshape(-1, *kernel.shape[-2:]).sum((0, 2))
    came = first.by_input.reshape(-1, kernel.shape[-2]).sum(0)
    assert (felt > 0).all()
    assert np.corrcoef(felt, came)[0, 1] > 0.99


@pytest.mark.parametrize("case", ["events", "images"])
def test_lists_of_a_truncated_window_are_those_of_a_run_over_truncated_frames(case):
    model, frames = CASES[case]
    levered, machine = Levered(model, (WeightPruning(start=0.7),)), get("neuromorphic-22nm")
    variables = jax.jit(levered.init)(KEY, frames)
    levers, params = levered.levers, variables["params"]

    @jax.jit
    def estimates():
        _, stepwise = answers_by_step(levered, variables, frames)
        alone, silent = [], []
        for steps in range(1, len(frames) + 1):
            _, short = ran(levered, variables, frames[:steps])
            for result, work in ((alone, short), (silent, short.silenced())):
                result.append(estimate_layers(price(levers, params, work, machine)).total_pj())
        works = (stepwise, stepwise.silenced())
        result = [energy_by_step(work, machine, levers, params) for work in works]
        return result, [jnp.stack(alone), jnp.stack(silent)]

    result, expected = estimates()
    for prefix, alone in zip(result, expected, strict=True):
        np.testing.assert_allclose(prefix, alone, rtol=1e-5)
    # In the last step at the latest something fired.
    assert (result[1] <= result[0]).all() and (result[1][-1] < result[0][-1]).all()

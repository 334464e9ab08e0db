"""Pictures: what they show, and what they refuse."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread

from jsnn.energy import COMPONENTS, EnergyBreakdown, estimate_energy
from jsnn.hardware import get
from jsnn.units import energy_text, unit_of
from jsnn.viz import plots
from jsnn.workload import Workload
from jsnn.workload.analytic import dense

LAYERS = ("hidden_0", "hidden_1", "readout")


def metrics(epochs, spikes=(40.0, 50.0, 0.0), **changed):
    """Rows as the training script writes them, falling from epoch to epoch."""
    rows = []
    for epoch in range(1, epochs + 1):
        row = {
            "epoch": epoch,
            "train_loss": 2.2 / epoch,
            "train_task": 2.0 / epoch,
            "train_energy": 1.0 / epoch,
            "train_dead_neurons": 0.0,
            "train_accuracy": 1 - 0.5 / epoch,
            "train_pj": 9e5 / epoch,
            "validation_task": 2.1 / epoch,
            "validation_accuracy": 0.9 - 0.5 / epoch,
            "validation_pj": 9e5 / epoch,
            "validation_spike_independent_pj": 2e5,
            "spikes": [count / epoch for count in spikes],
            "seconds": float(epoch),
        }
        rows.append(row | changed)
    return rows


def estimates():
    """Of a two-layer network at two rates, batches of two."""
    machine = get("hierarchy-45nm")

    def at(rate):
        hidden = dense(64, 32, steps=4, rate=[0.1, 0.3], rate_out=rate, input_kind="events")
        out = dense(32, 10, steps=4, rate=[rate, rate], name="readout", spiking=False)
        return estimate_energy(Workload((hidden, out)), machine)

    return at(0.4), at(0.1)


def labels(axes):
    return axes.get_legend_handles_labels()[1]


def line(axes, label):
    return next(drawn.get_ydata() for drawn in axes.lines if drawn.get_label() == label)


def test_curves_show_the_numbers_of_the_rows():
    loss, accuracy, energy, activity = plots.curves(metrics(3), LAYERS).axes
    np.testing.assert_allclose(line(loss, "task"), [2, 1, 2 / 3])
    np.testing.assert_allclose(line(accuracy, "validation"), [40, 65, 100 * (0.9 - 0.5 / 3)])
    np.testing.assert_allclose(line(energy, "energy, validation"), [900, 450, 300])
    np.testing.assert_allclose(
        line(energy, "spike-independent energy: no hidden spike"), [200, 200, 200]
    )
    np.testing.assert_allclose(line(activity, "hidden_1"), [50, 25, 50 / 3])
    assert energy.get_ylabel() == "energy per inference (nJ)"
    assert energy.get_yscale() == "log"
    assert labels(activity) == ["hidden_0", "hidden_1", "readout: none"]


@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_every_panel_has_labels_and_integer_epochs(epochs):
    figure = plots.curves(metrics(epochs), LAYERS)
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.get_title(loc="left") and axes.get_xlabel() == "epoch" and axes.get_ylabel()
        ticks = axes.get_xticks()
        assert (ticks == ticks.round()).all()


def test_legends_lie_beside_the_data():
    figure = plots.curves(metrics(5), LAYERS)
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert not axes.get_legend().get_window_extent().overlaps(axes.get_window_extent())


def test_energy_axis_has_at_least_two_numbers_however_narrow_its_span():
    for last in (2.1e5, 3e5, 9e6, 9e9):
        rows = metrics(1) + metrics(2, validation_pj=last)[1:]
        energy = plots.curves(rows, LAYERS).axes[2]
        low, high = energy.get_ylim()
        inside = [tick for tick in energy.get_yticks() if low <= tick <= high]
        assert len(inside) >= 2, last


def test_a_layer_that_dies_is_seen_to_reach_zero():
    rows = metrics(4)
    rows[-1]["spikes"][1] = 0.0
    activity = plots.curves(rows, LAYERS).axes[3]
    assert activity.get_yscale() == "symlog" and activity.get_ylim()[0] == 0
    assert plots.curves(metrics(4), LAYERS).axes[3].get_yscale() == "log"


def test_curves_of_a_network_without_spikes_or_energy():
    rows = metrics(
        3, spikes=(0.0, 0.0, 0.0), validation_pj=0.0, validation_spike_independent_pj=0.0
    )
    figure = plots.curves(rows, LAYERS)
    figure.draw_without_rendering()
    assert labels(figure.axes[3]) == [f"{name}: none" for name in LAYERS]
    assert figure.axes[2].get_yscale() == "linear"


def test_many_layers_have_lines_of_their_own():
    names = [f"layer_{number}" for number in range(20)]
    activity = plots.curves(metrics(2, spikes=[1.0] * 20), names).axes[3]
    assert len({(drawn.get_color(), drawn.get_linestyle()) for drawn in activity.lines}) == 20


def test_curves_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="at least one epoch"):
        plots.curves([], LAYERS)
    with pytest.raises(ValueError, match="2 layers"):
        plots.curves(metrics(2), LAYERS[:2])


def test_breakdown_stacks_add_up_to_the_energy():
    before, after = estimates()
    axes = plots.breakdown(before, after).axes[0]
    pj, unit = unit_of(float(before.total_pj().mean()))
    assert axes.get_xlabel() == f"energy per inference ({unit})"
    ends = {}
    for bar in axes.patches:
        row = round(bar.get_y() + bar.get_height() / 2, 6)
        ends[row] = max(ends.get(row, 0.0), bar.get_x() + bar.get_width())
    shown = [ends[row] for row in sorted(ends)]
    totals = [[b.total_pj().mean(), *b.layers_pj().mean(0)] for b in (before, after)]
    np.testing.assert_allclose(shown, np.transpose(totals).ravel() / pj, rtol=1e-5)
    names = [tick.get_text().split() for tick in axes.get_yticklabels()]
    assert names[0] == ["whole", "network", "before"] and names[-1] == ["readout", "after"]


def test_breakdown_names_what_is_unpriced_and_gives_each_component_one_colour():
    figure = plots.breakdown(*estimates())
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert "static: unpriced" in texts and "weight memory" in texts
    colours = {patch.get_facecolor() for patch in figure.axes[0].patches}
    assert len(colours) == sum(not text.endswith("unpriced") for text in texts)


def test_breakdown_of_the_largest_and_the_smallest_energies():
    for size in (0.0, 1e-3, 1e12):
        drawn = EnergyBreakdown(
            jnp.full((1, 2, len(COMPONENTS)), size), ("a", "b"), "machine", (), ("EXACT",)
        )
        plots.breakdown(drawn, drawn).draw_without_rendering()


def test_breakdown_refuses_energies_that_do_not_compare():
    before, after = estimates()
    with pytest.raises(ValueError, match="same network on the same machine"):
        plots.breakdown(before, dataclasses.replace(after, hardware="other"))


def test_raster_draws_each_spike_where_it_was():
    spikes = np.zeros((6, 2, 5))
    spikes[1, 0, 3] = spikes[4, 0, 0] = 1
    spikes[2, 1, 2] = 1
    figure = plots.raster({"hidden": spikes, "silent": np.zeros((6, 2, 4))})
    drawn, empty = figure.axes
    (dashes,) = drawn.collections
    centres = {tuple(segment.mean(0)) for segment in dashes.get_segments()}
    assert centres == {(1.0, 3.0), (4.0, 0.0)}
    assert drawn.get_title(loc="left") == "hidden: 2 spikes, 2 of 5 neurons fired"
    assert empty.get_title(loc="left") == "silent: 0 spikes, 0 of 4 neurons fired"
    assert empty.get_xlabel() == "time step" and drawn.get_ylabel() == "neuron"
    (dashes,) = plots.raster({"hidden": spikes}, sample=1).axes[0].collections
    assert [tuple(segment.mean(0)) for segment in dashes.get_segments()] == [(2.0, 2.0)]


def test_raster_of_a_wide_layer_keeps_every_spike_in_its_shades():
    spikes = np.random.default_rng(0).random((3, 1, 1001)) < 0.1
    axes = plots.raster({"conv": spikes}).axes[0]
    (mesh,) = axes.collections
    assert mesh.get_array().sum() == spikes.sum()
    size = -(-1001 // 256)
    assert mesh.get_array()[0, 0] == spikes[0, 0, :size].sum()
    assert f"of {size} neighbours" in axes.get_title(loc="left")


def test_raster_refuses_what_is_not_spike_trains():
    with pytest.raises(ValueError, match="at least one layer"):
        plots.raster({})
    with pytest.raises(ValueError, match=r"'hidden'.*sample 2"):
        plots.raster({"hidden": np.zeros((3, 2, 4))}, sample=2)
    with pytest.raises(ValueError, match=r"\[T, B, N\]"):
        plots.raster({"hidden": np.zeros((3, 4))})


def test_pictures_are_written_where_asked(tmp_path):
    plots.curves(metrics(3), LAYERS, tmp_path / "curves.png")
    plots.breakdown(*estimates(), tmp_path / "breakdown.png")
    plots.raster({"hidden": np.eye(4)[:, None]}, tmp_path / "raster.png")
    for picture in tmp_path.iterdir():
        assert imread(picture).std() > 0.01
    assert len(list(tmp_path.iterdir())) == 3


def test_energies_are_written_in_the_unit_that_fits():
    assert [energy_text(pj) for pj in (0.0385, 9.99e3, 1e4, 2.5e7, 3e12)] == [
        "0.0385 pJ",
        "9,990 pJ",
        "10 nJ",
        "25 µJ",
        "3,000 mJ",
    ]

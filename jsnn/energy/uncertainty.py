"""Uncertainty of an energy estimate: ranges of the constants, draws over them, sensitivities.

A constant that its source gives a range for keeps that range. For the others a range is assumed
by provenance, a factor up and down (`SPREAD`). These factors are an assumption of this library
(DERIVED), not a published tolerance: about the rounding of a figure of one or two digits for
EXACT, the scatter between copies of a figure for SECONDARY, a fit or an argument for DERIVED and
memory for RECALLED. They can be overridden wherever they are used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jsnn._checks import check_number, whole_number
from jsnn._pytree import is_concrete
from jsnn.energy.estimate import estimate_energy
from jsnn.energy.qnn import Density, estimate_qnn_energy
from jsnn.hardware import Hardware, Technology, check_hardware
from jsnn.hardware.constant import PROVENANCES, Constant
from jsnn.hardware.design import BOUNDS
from jsnn.workload import Workload

__all__ = ["SPREAD", "Draws", "Sensitivity", "monte_carlo", "ranges", "sensitivities"]

# Provenance: DERIVED, see the module. A constant lies between value / factor and value · factor.
SPREAD = {"EXACT": 1.1, "SECONDARY": 1.25, "DERIVED": 1.5, "RECALLED": 2.0}

Distribution = Literal["log-uniform", "triangular"]

# Constants beyond it would leave the range in which energies are finite.
_MOST_SPREAD = 1e6

# Equal costs summed in another order differ by less than this share.
_TIE = 1e-6
# Entries of the energies of one chunk of draws; bounds memory, not the result.
_CHUNK_ENTRIES = 2**20


def ranges(
    technology: Technology, spread: Mapping[str, float] | None = None
) -> dict[str, tuple[Any, Any]]:
    """Where each constant may lie: its own range, else `(value / f, value · f)`, f by provenance.

    Args:
        technology: the constants.
        spread: factors by provenance that take the place of those in `SPREAD`.

    Returns:
        `{name: (low, high)}`, in the unit of each constant.

    Raises:
        ValueError: an unknown provenance or a factor below one; a value outside its own range.

    >>> from jsnn.hardware import get
    >>> ranges(get("compute-only-45nm").technology, {"SECONDARY": 2.0})["add_fp32_pj"]
    (0.45, 1.8)
    """
    factors = SPREAD | dict(spread or {})
    for provenance, factor in factors.items():
        if provenance not in PROVENANCES:
            raise ValueError(
                f"expected a spread for one of {list(PROVENANCES)}, found {provenance!r}"
            )
        check_number(f"spread of {provenance}", factor, 1, _MOST_SPREAD)
    return {
        name: _range(name, constant, factors[constant.provenance])
        for name, constant in technology.constants.items()
    }


def _range(name: str, constant: Constant, factor: float) -> tuple[Any, Any]:
    value, low, high = constant.value, constant.low, constant.high
    if low is None:
        return value / factor, value * factor
    if is_concrete(value) and not low <= value <= high:
        raise ValueError(
            f"{name} = {value} {constant.unit} lies outside its own range, {low} to {high}: "
            "give the constant another range along with its value"
        )
    return low, high


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draws:
    """Energies of the mean sample, one for each draw of the constants.

    Attributes:
        snn_pj: `[S]` pJ of the spiking network.
        qnn_pj: `[S]` pJ of its QNN, with the same constants.
    """

    snn_pj: jax.Array
    qnn_pj: jax.Array

    @property
    def ratio(self) -> jax.Array:
        """`[S]` energy of the network over that of its QNN."""
        return self.snn_pj / self.qnn_pj

    @property
    def wins(self) -> jax.Array:
        """Share of the draws in which the spiking network costs less; a tie is no win."""
        return (self.snn_pj < (1 - _TIE) * self.qnn_pj).mean()

    def interval(
        self, what: Literal["snn_pj", "qnn_pj", "ratio"] = "snn_pj", share: float = 0.95
    ) -> tuple[float, float]:
        """Central interval that holds `share` of the draws; ValueError unless 0 < share < 1.

        >>> draws = Draws(jnp.arange(101.0), jnp.full(101, 50.0))
        >>> draws.interval(share=0.9), float(draws.wins)
        ((5.0, 95.0), 0.495)
        """
        check_number("share", share)
        if not 0 < share < 1:
            raise ValueError(f"expected a share between 0 and 1, found {share}")
        drawn, tails = np.asarray(getattr(self, what)), [(1 - share) / 2, (1 + share) / 2]
        # No interpolation: a QNN that costs nothing makes ratios infinite.
        low, high = np.quantile(drawn, tails, method="inverted_cdf")
        return float(low), float(high)


def monte_carlo(
    key: jax.Array,
    workload: Workload,
    hardware: Hardware,
    samples: int = 1000,
    *,
    spread: Mapping[str, float] | None = None,
    parameters: Mapping[str, tuple[float, float]] | None = None,
    distribution: Distribution = "log-uniform",
    density: Density = "measured",
    most: int = 256,
) -> Draws:
    """Energies of a workload and its QNN under constants drawn from their `ranges`.

    Every constant is drawn by itself, `log x ~ U(log low, log high)` or triangular with its mode
    at the value, and each draw prices both networks: what they have in common cancels in the
    ratio. A range that begins at zero has no logarithm and is drawn uniformly. Constants out of one
    table may well err together; independent draws then understate the interval of the joules.

    Args:
        key: PRNG key; the same key gives the same draws.
        workload: what the spiking network did; energies are means over its batch.
        hardware: the machine of both.
        samples: S, how many draws.
        spread: see `ranges`.
        parameters: `{name: (low, high)}` of design parameters that are to be drawn too.
        distribution: `log-uniform` or `triangular`.
        density: of the QNN, see `jsnn.energy.qnn.qnn_workload`.
        most: where samples cannot be averaged beforehand (the machine chooses a dataflow for each
            of them, or uses static power while it works), a draw prices at most so many, evenly
            spaced in the batch, scaled so that the undrawn constants give the mean of them all.

    Raises:
        ValueError: fewer than one draw or sample, an unknown distribution, a design parameter that
            the machine lacks or whose range is not valid, and what `ranges` refuses.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> workload = Workload((dense(4096, 4096, steps=5, rate=0.05),))
    >>> draws = monte_carlo(jax.random.key(0), workload, get("neuromorphic-22nm"), 100)
    >>> draws.snn_pj.shape, bool(0 < draws.wins < 1)
    ((100,), True)
    """
    check_hardware(hardware)
    samples = whole_number("samples", samples, 1, 10**9)
    most = whole_number("most", most, 1, 10**9)
    if distribution not in ("log-uniform", "triangular"):
        raise ValueError(
            f"expected distribution 'log-uniform' or 'triangular', found {distribution!r}"
        )
    technology = hardware.technology
    spans = {n: (*ends, technology[n]) for n, ends in ranges(technology, spread).items()}
    spans |= {n: _parameter_span(hardware, n, ends) for n, ends in (parameters or {}).items()}
    if not spans:
        raise ValueError(
            f"{hardware.name} has no constant to draw, and no design parameter was named"
        )
    shape = len(spans), samples
    drawn = dict(zip(sorted(spans), jax.random.uniform(key, shape, float), strict=True))
    values = {name: _placed(u, *spans[name], distribution) for name, u in drawn.items()}
    constants = {name: x for name, x in values.items() if name in technology}
    design = {name: x for name, x in values.items() if name not in technology}
    part, scales = _thinned(workload, hardware, density, most)
    drawn = _energies(part, hardware, (constants, design), density, samples)
    return Draws(*(scale * pj for scale, pj in zip(scales, drawn, strict=True)))


def _parameter_span(
    hardware: Hardware, name: str, ends: tuple[float, float]
) -> tuple[float, float, float]:
    if name not in hardware.architecture.parameters:
        raise ValueError(
            f"{hardware.name} has no design parameter {name!r}, only "
            f"{list(hardware.architecture.parameters)}"
        )
    low, high = ends
    least, most = BOUNDS[name]
    for end in ends:
        check_number(name, end, least, most)
    if not least <= low <= high <= most:
        raise ValueError(f"expected {least} <= low <= high <= {most} of {name}, found {ends}")
    mode = np.clip(float(getattr(hardware.design, name)), low, high)
    return low, high, float(mode)


def _placed(u: jax.Array, low: Any, high: Any, mode: Any, distribution: Distribution) -> jax.Array:
    """Uniform numbers moved to their distribution between low and high."""
    if distribution == "triangular":
        width = high - low
        split = (mode - low) / jnp.where(width > 0, width, 1)
        rising = low + jnp.sqrt(u * width * (mode - low))
        return jnp.where(u < split, rising, high - jnp.sqrt((1 - u) * width * (high - mode)))
    positive = jnp.where(low > 0, low, 1)
    return jnp.where(low > 0, low * (high / positive) ** u, low + u * (high - low))


def _thinned(
    workload: Workload, hardware: Hardware, density: Density, most: int
) -> tuple[Workload, tuple[Any, Any]]:
    """Fewer samples for the draws, and what scales both of their energies to those of all.

    With one dataflow, energy is linear in the counts, and so is the QNN's where no minimum limits
    them: then the mean sample stands for all. Otherwise up to `most` samples do. Static power lasts
    as long as the slowest layer, which differs from sample to sample.
    """
    choosing = any(len(hardware.prices(layer.geometry)) > 1 for layer in workload)
    bent = choosing or hardware.burns_while_it_works
    if not (bent or workload.per_step or density != "measured"):
        return jax.tree.map(lambda counts: counts.mean(0, keepdims=True), workload), (1.0, 1.0)
    count = workload.layers[0].events_by_fan_out.shape[0]
    if count <= most:
        return workload, (1.0, 1.0)
    chosen = np.linspace(0, count - 1, most).round().astype(int)
    part = jax.tree.map(lambda counts: counts[chosen], workload)
    means = zip(
        _mean_pj(workload, hardware, density), _mean_pj(part, hardware, density), strict=True
    )
    return part, tuple(
        jnp.where(few > 0, all_ / jnp.where(few > 0, few, 1), 1) for all_, few in means
    )


def _mean_pj(workload: Workload, hardware: Hardware, density: Density) -> tuple[Any, Any]:
    """PJ of the mean sample, of the spiking network and of its QNN."""
    spiking = estimate_energy(workload, hardware).total_pj().mean()
    return spiking, estimate_qnn_energy(workload, hardware, density).total_pj().mean()


def _energies(
    workload: Workload, hardware: Hardware, drawn: Any, density: Density, samples: int
) -> tuple[jax.Array, jax.Array]:
    """Both energies of each draw, `[S]`."""
    entries = len(workload) * max(layer.events_by_fan_out.size for layer in workload)
    chunk = max(1, _CHUNK_ENTRIES // max(1, entries))

    def energies(values):
        constants, design = values
        machine = hardware.with_constants(**constants).with_design(**design)
        return _mean_pj(workload, machine, density)

    def many(start):
        return jax.vmap(energies)(jax.tree.map(lambda x: x[start : start + chunk], drawn))

    # Operation by operation: the compilation of a whole machine would take longer than the draws.
    parts = [many(start) for start in range(0, samples, chunk)]
    return tuple(jnp.concatenate(column) for column in zip(*parts, strict=True))


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What one constant or design parameter moves, to first order.

    Attributes:
        name: its name.
        provenance: of a constant; `parameter` for a design parameter.
        value: its value.
        low, high: the range of a constant; half and double of a design parameter, within its
            bounds.
        energy: d log E_SNN / d log value, NaN where nothing is paid.
        qnn: d log E_QNN / d log value, NaN where nothing is paid.
    """

    name: str
    provenance: str
    value: float
    low: float
    high: float
    energy: float
    qnn: float

    @property
    def ratio(self) -> float:
        """d log (E_SNN / E_QNN) / d log value."""
        return self.energy - self.qnn

    def swing(self, what: Literal["energy", "qnn", "ratio"] = "energy") -> tuple[float, float]:
        """Relative change at `low` and at `high`, to first order: `slope · (x / value - 1)`.

        >>> add = Sensitivity("add_pj", "SECONDARY", 2.0, 1.0, 4.0, energy=0.5, qnn=0.25)
        >>> add.swing(), add.swing("ratio")
        ((-0.25, 0.5), (-0.125, 0.25))
        """
        slope = getattr(self, what)
        if not self.value:
            return 0.0, 0.0
        return slope * (self.low / self.value - 1), slope * (self.high / self.value - 1)


def sensitivities(
    workload: Workload,
    hardware: Hardware,
    *,
    spread: Mapping[str, float] | None = None,
    density: Density = "measured",
) -> tuple[Sensitivity, ...]:
    """Elasticities of energy and ratio in every constant and design parameter, largest first.

    `d log E / d log x = (x / E) · dE/dx`, all of them from one reverse pass for each of the two
    energies. Where an energy is linear in its constants, as in figures of pJ, theirs sum to one.
    Choices are taken as they stand: what acts only through one (what fits where) shows zero, as
    does a design parameter that is at zero.

    Args:
        workload: what the spiking network did; energies are means over its batch.
        hardware: the machine, of numbers, not tracers.
        spread: see `ranges`.
        density: of the QNN.

    Raises:
        ValueError: what `ranges` refuses.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> workload = Workload((dense(100, 10, steps=5, rate=0.1, spiking=False),))
    >>> for s in sensitivities(workload, get("compute-only-45nm")):
    ...     print(s.name, s.provenance, round(s.energy, 3), round(s.ratio, 3))
    add_fp32_pj SECONDARY 1.0 0.804
    mul_fp32_pj SECONDARY 0.0 -0.804
    """
    check_hardware(hardware)
    span = ranges(hardware.technology, spread)
    energies, slopes = _slopes(workload, hardware, density)
    snn_pj, qnn_pj = (float(energy) for energy in energies)
    entries = []
    for name, constant in hardware.technology.constants.items():
        slope = [machine.technology[name] for machine in slopes]
        entries.append((name, constant.provenance, constant.value, *span[name], *slope))
    for name, value in hardware.design.parameters.items():
        least, most = BOUNDS[name]
        ends = max(least, value / 2), min(most, 2 * value)
        entries.append(
            (name, "parameter", value, *ends, *(getattr(m.design, name) for m in slopes))
        )
    rows = [
        Sensitivity(
            name,
            provenance,
            *(float(x) for x in (value, low, high)),
            energy=_elasticity(value, by_snn, snn_pj),
            qnn=_elasticity(value, by_qnn, qnn_pj),
        )
        for name, provenance, value, low, high, by_snn, by_qnn in entries
    ]
    return tuple(sorted(rows, key=lambda s: (-np.nan_to_num(abs(s.energy)), s.name)))


def _elasticity(value: Any, slope: Any, energy_pj: float) -> float:
    return float(value) * float(slope) / energy_pj if energy_pj > 0 else float("nan")


def _slopes(
    workload: Workload, hardware: Hardware, density: Density
) -> tuple[tuple[jax.Array, jax.Array], tuple[Hardware, Hardware]]:
    """Both energies and the derivative of each, a tree like the machine."""

    def energies(machine):
        return _mean_pj(workload, machine, density)

    leaves = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), hardware)
    both, pull = jax.vjp(energies, leaves)
    ones, zero = (jnp.full_like(both[0], x) for x in (1, 0))
    return both, (pull((ones, zero))[0], pull((zero, ones))[0])

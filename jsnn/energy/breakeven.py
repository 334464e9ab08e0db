"""Break-even of spiking networks with their QNN, and maps of the energy ratio around it.

A *design point* is a set of numbers by name: the work (`steps`, `rate`, and `fan_in` and `neurons`
of a dense layer), what is known of the QNN (`active`, `bits`), and any design parameter or constant
of the machine in place of its own value. At a point every input fires at the same mean rate s. With
E_SNN and E_QNN the energies of `jsnn.energy` and `jsnn.estimate_qnn_energy`,

    ratio(point) = E_SNN / E_QNN,    break-even: the value of one number at which the ratio is 1,

found by bracketing log(ratio) over the logarithm of that number, a fixed count of times, and
differentiated by the implicit function theorem: d root / d p = -(∂ ratio / ∂p) / (∂ ratio / ∂root).

| name      | what it is                                                     | range         |
|-----------|----------------------------------------------------------------|---------------|
| `steps`   | T                                                              | from 1        |
| `rate`    | s, spikes per input and step, also per neuron and step         | 0 to 1        |
| `fan_in`  | inputs of a dense layer                                        | from 1        |
| `neurons` | neurons of a dense layer                                       | from 1        |
| `active`  | share of the QNN's inputs that are not zero; the mid-point    | 0 to 1        |
|           | `min(1, 2·T·s / (T + 1))` unless given                         |               |
| `bits`    | width of the QNN's activations; `ceil(log2(T + 1))`,          | 1 to 64       |
|           | `relaxed` without the ceiling, unless given                    |               |

Sizes and T may be fractions. Of the spiking layer as many inputs fire at least once as of the QNN,
as far as the rate allows: `s <= active <= min(1, T·s)` (arXiv 2409.08290, theorem 2).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsnn._checks import check_number, shown
from jsnn._pytree import is_concrete
from jsnn.energy.estimate import estimate_energy
from jsnn.energy.qnn import Density, estimate_qnn_energy
from jsnn.hardware import Hardware, check_hardware
from jsnn.hardware.constant import largest
from jsnn.hardware.design import BOUNDS
from jsnn.workload import Geometry, LayerWorkload, Workload
from jsnn.workload.analytic import dense

__all__ = [
    "break_even",
    "rate",
    "ratio_at",
    "ratio_by_layer",
    "regime_map",
    "sparsity",
    "steps",
    "sweep",
]

WORK = {
    "steps": (1, 1e9),
    "rate": (0, 1),
    "fan_in": (1, 1e9),
    "neurons": (1, 1e9),
    "active": (0, 1),
    "bits": BOUNDS["output_bits"],
}
OPTIONAL = ("active", "bits")
SIZES = ("fan_in", "neurons")
# Where a break-even is looked for, and whether only as the end of what spikes win.
SEARCH = {"rate": (1e-6, 1.0, True), "steps": (1.0, 1024.0, True), "active": (1e-6, 1.0, False)}
# Two crossings in one part of the range are taken for none. Rounds by the bytes of a number.
_PARTS, _ROUNDS = 32, {4: 6, 8: 10}


def ratio_by_layer(
    workload: Workload, hardware: Hardware, density: Density = "measured"
) -> jax.Array:
    """`[B, L]` E_SNN / E_QNN of each layer; below one, spikes win there.

    inf where the QNN's layer costs nothing, nan where neither costs anything.

    >>> from jsnn.hardware import get
    >>> machine = get("neuromorphic-22nm").with_design(weight_bits=4)
    >>> quiet, busy = (dense(4096, 4096, steps=5, rate=r, name=str(r)) for r in (0.05, 0.1))
    >>> ratio_by_layer(Workload((quiet, busy)), machine)
    Array([[0.8766, 1.7295]], dtype=float32)
    """
    check_hardware(hardware)
    return (
        estimate_energy(workload, hardware).layers_pj()
        / estimate_qnn_energy(workload, hardware, density).layers_pj()
    )


def ratio_at(
    hardware: Hardware,
    *,
    layers: Sequence[Geometry] | None = None,
    relaxed: bool = False,
    **point: Any,
) -> jax.Array:
    """E_SNN / E_QNN at a design point, a scalar.

    Args:
        hardware: the machine of both.
        layers: what runs, such as the geometries of a recorded workload; a dense layer of `fan_in`
            inputs and `neurons` unless given. Their real-valued inputs have no zeros.
        relaxed: `log2(T + 1)` bits in the QNN instead of the ceiling.
        **point: see the module.

    Raises:
        ValueError: a name the point lacks or the machine does not know, a value out of range, a
            point at which the QNN costs nothing (unless traced).

    >>> from jsnn.hardware import get
    >>> machine = get("neuromorphic-22nm").with_design(weight_bits=4)
    >>> float(ratio_at(machine, steps=5, rate=0.05, fan_in=4096, neurons=4096))
    0.8766
    """
    _check(hardware, layers, point)
    _fits(hardware, layers, point)
    ratio = _ratio(hardware, _floats(point), layers=_static(layers), relaxed=relaxed)
    return _with_ratio(hardware, ratio, point)


def break_even(
    hardware: Hardware,
    along: str,
    *,
    low: Any = None,
    high: Any = None,
    rising: bool | None = None,
    layers: Sequence[Geometry] | None = None,
    relaxed: bool = False,
    **point: Any,
) -> jax.Array:
    """The value of `along` at which spikes and QNN cost the same, all else as in `point`.

    The range is divided into 32 parts, evenly in the logarithm; the first of those at whose ends
    different sides win is divided again, and so on. Differentiable in every number of the point and
    every constant and design parameter of the machine. Where the ratio jumps over one (a tensor no
    longer fits a memory), the place of the jump is found and a gradient there means nothing.

    Args:
        hardware: the machine of both.
        along: name of the number that is looked for, see the module.
        low, high: range; known for `rate` (1e-6 to 1), `steps` (1 to 1024), `active` (1e-6 to 1).
        rising: take only a place above which the QNN wins. Unless given: for rate and steps.
        layers, relaxed: as in `ratio_at`.
        **point: all other numbers.

    Returns:
        A scalar. Under jit, grad and vmap nan where there is no such place.

    Raises:
        ValueError: no such place (says who wins), no range, or as `ratio_at`.

    >>> from jsnn.hardware import get
    >>> machine = get("neuromorphic-22nm")
    >>> wide = {"fan_in": 4096, "neurons": 4096}
    >>> float(break_even(machine, "hops", low=0.01, high=10, steps=4, rate=0.1, **wide))
    0.463
    """
    span, rising = _search(hardware, layers, point, along, (low, high), rising)
    options = {"layers": _static(layers), "relaxed": relaxed}
    root = _root(hardware, _floats(point), span, along=along, rising=rising, **options)
    if not is_concrete(root):
        return root
    none = bool(np.isnan(root))
    _fits(hardware, layers, {**point, along: span[0] if none else float(root)})
    if none:
        ends = [float(_ratio(hardware, _floats({**point, along: x}), **options)) for x in span]
        raise ValueError(
            f"{hardware.name} has no break-even along {along!r} from {span[0]:g} to "
            f"{span[1]:g}: {_verdict(ends)} (ratio {ends[0]:.4g} to {ends[1]:.4g})"
        )
    return root


def rate(hardware: Hardware, steps: Any, fan_in: Any, neurons: Any, **more: Any) -> jax.Array:
    """Spike rate s* below which a dense layer of spikes is cheaper than its QNN.

    `break_even` along `rate`, with its keywords and errors. On a machine of the neuromorphic
    architecture `jsnn.energy.qnn.break_even_rate` is the closed form of it.

    >>> from jsnn.hardware import get
    >>> round(float(rate(get("neuromorphic-22nm"), 5, 4096, 4096, weight_bits=4)), 4)
    0.0572
    """
    return break_even(hardware, "rate", steps=steps, fan_in=fan_in, neurons=neurons, **more)


def sparsity(hardware: Hardware, steps: Any, fan_in: Any, neurons: Any, **more: Any) -> jax.Array:
    """Share of silent neuron-steps above which spikes are cheaper, `1 - s*`.

    >>> from jsnn.hardware import get
    >>> round(float(sparsity(get("neuromorphic-22nm"), 5, 4096, 4096, weight_bits=4)), 3)
    0.943
    """
    return 1 - rate(hardware, steps, fan_in, neurons, **more)


def steps(hardware: Hardware, rate: Any, fan_in: Any, neurons: Any, **more: Any) -> jax.Array:
    """Number of steps T* above which the QNN is cheaper at a rate, its bits `log2(T + 1)`.

    The QNN of a whole number of steps has `ceil(log2(T + 1))` bits, so that the exact ratio
    goes up and down around T*: `regime_map` over `steps` shows it.

    >>> from jsnn.hardware import get
    >>> round(float(steps(get("neuromorphic-22nm"), 0.05, 4096, 4096, weight_bits=4)), 2)
    5.08
    """
    more = {"relaxed": True} | more
    return break_even(hardware, "steps", rate=rate, fan_in=fan_in, neurons=neurons, **more)


def sweep(
    hardware: Hardware,
    points: Mapping[str, Any],
    *,
    along: str | None = None,
    low: Any = None,
    high: Any = None,
    rising: bool | None = None,
    layers: Sequence[Geometry] | None = None,
    relaxed: bool = False,
    **same: Any,
) -> jax.Array:
    """E_SNN / E_QNN at a list of design points, or a break-even at each; one compiled call.

    What does not fit a machine of fixed size is refused by `ratio_at` and `break_even` alone: here
    it is priced as the architecture says.

    Args:
        hardware: the machine of both.
        points: `[P]` values by name.
        along: look for the break-even of this number at each point instead; nan where there is
            none.
        low, high, rising, layers, relaxed: as in `break_even`.
        **same: numbers that all points share.

    Returns:
        `[P]`.

    Raises:
        ValueError: no point, lists of different lengths or of no numbers, or as `ratio_at`.

    >>> from jsnn.hardware import get
    >>> points = {"steps": [2, 5], "weight_bits": [8, 4]}
    >>> sweep(get("neuromorphic-22nm"), points, along="rate", fan_in=4096, neurons=4096)
    Array([0.1249, 0.0572], dtype=float32)
    """
    values = {name: _list_of(name, numbers) for name, numbers in points.items()}
    shapes = {name: list(numbers.shape) for name, numbers in values.items()}
    if len({numbers.shape for numbers in values.values()}) != 1 or not all(
        numbers.ndim == 1 and numbers.size for numbers in values.values()
    ):
        raise ValueError(f"expected lists of one length, of one or more numbers, found {shapes}")
    if twice := sorted(values.keys() & same.keys()):
        raise ValueError(f"{twice} cannot differ and stay the same: leave one out")
    span = None
    if along is None:
        _check(hardware, layers, {**same, **values})
    else:
        span, rising = _search(hardware, layers, {**same, **values}, along, (low, high), rising)
    options = {"along": along, "rising": rising, "layers": _static(layers), "relaxed": relaxed}
    swept = _sweep(hardware, _floats(values), _floats(same), span, **options)
    return swept if along is not None else _with_ratio(hardware, swept, values)


def regime_map(hardware: Hardware, axes: Mapping[str, Any], **options: Any) -> jax.Array:
    """`sweep` over a grid.

    Args:
        hardware: the machine of both.
        axes: values by name.
        **options: as in `sweep`.

    Returns:
        An array with one axis for each of `axes`, in their order.

    Raises:
        ValueError: no axis, an empty or nested one, or as `sweep`.

    >>> from jsnn.hardware import get
    >>> axes = {"steps": [3, 5], "rate": [0.01, 0.05, 0.1]}
    >>> regime_map(get("neuromorphic-22nm"), axes, fan_in=512, neurons=512, weight_bits=4).shape
    (2, 3)
    """
    values = {name: _list_of(name, axis) for name, axis in axes.items()}
    if not values or any(axis.ndim != 1 or not axis.size for axis in values.values()):
        shapes = {name: list(axis.shape) for name, axis in values.items()}
        raise ValueError(f"expected axes of one or more numbers each, found shapes {shapes}")
    grid = np.meshgrid(*values.values(), indexing="ij")
    points = {name: column.ravel() for name, column in zip(values, grid, strict=True)}
    return sweep(hardware, points, **options).reshape(grid[0].shape)


@functools.partial(jax.jit, static_argnames=("layers", "relaxed"))
def _ratio(hardware, point, layers, relaxed):
    snn_pj, qnn_pj = _costs(hardware, layers, relaxed, point)
    return snn_pj / qnn_pj


@functools.partial(jax.jit, static_argnames=("along", "rising", "layers", "relaxed"))
def _sweep(hardware, moving, same, span, along, rising, layers, relaxed):
    def at(numbers):
        point = same | numbers
        if along is None:
            return _ratio(hardware, point, layers, relaxed)
        return _root(hardware, point, span, along, rising, layers, relaxed)

    return jax.vmap(at)(moving)


@functools.partial(jax.jit, static_argnames=("along", "rising", "layers", "relaxed"))
def _root(hardware, point, span, along, rising, layers, relaxed):
    def log_ratio(log_value):
        value = jnp.exp(log_value)
        snn_pj, qnn_pj = _costs(hardware, layers, relaxed, point | {along: value})
        return jnp.log(snn_pj) - jnp.log(qnn_pj)

    def solve(function, _):
        def narrow(_, bracket):
            left, right, _ = bracket
            ends = left + (right - left) * jnp.linspace(0, 1, _PARTS + 1)
            above = jax.vmap(function)(ends) > 0
            up, down = ~above[:-1] & above[1:], above[:-1] & ~above[1:]
            crossing = up if rising else up | down
            part = crossing.argmax()
            return ends[part], ends[part + 1], crossing.any()

        low, high = (jnp.log(jnp.asarray(end, jnp.result_type(float))) for end in span)
        rounds = _ROUNDS[low.dtype.itemsize]
        left, right, crossing = jax.lax.fori_loop(0, rounds, narrow, (low, high, False))
        return jnp.where(crossing, (left + right) / 2, jnp.nan)

    guess = jnp.zeros((), jnp.result_type(float))
    return jnp.exp(jax.lax.custom_root(log_ratio, guess, solve, lambda f, y: y / f(1.0)))


def _costs(hardware, layers, relaxed, point) -> tuple[jax.Array, jax.Array]:
    """PJ of the spiking network and of its QNN."""
    work = {name: point[name] for name in WORK if name in point}
    machine = _machine(hardware, point)
    steps, rate = work["steps"], work["rate"]
    share = work.get("active")
    if share is None:
        share = jnp.minimum(2 * steps * rate / (steps + 1), 1)
    fired = jnp.clip(share, rate, jnp.minimum(steps * rate, 1))
    bits = work.get("bits")
    if bits is None:
        bits = jnp.log2(steps + 1) if relaxed else _activation_bits(steps)
    shapes = _shapes(layers, point)
    spiking, formal = (
        Workload(tuple(_at_rate(g, steps, rate, active) for g in shapes))
        for active in (fired, share)
    )
    snn_pj = estimate_energy(spiking, machine).total_pj()[0]
    return snn_pj, estimate_qnn_energy(formal, machine, bits=bits).total_pj()[0]


def _activation_bits(steps: Any) -> Any:
    """`ceil(log2(T + 1))` of a traced T, exact: the exponent of the next whole number."""
    return jnp.frexp(jnp.ceil(steps))[1].astype(jnp.result_type(float))


def _dense(inputs: Any, neurons: Any) -> Geometry:
    """Geometry of a dense layer whose sizes may be traced."""
    return dataclasses.replace(
        dense(1, 1, steps=1, rate=0.0).geometry,
        fan_outs=(neurons,),
        inputs_by_fan_out=(inputs,),
        neurons=neurons,
        fan_in=inputs,
        weights=inputs * neurons,
        output_shape=(neurons,),
    )


def _at_rate(geometry: Geometry, steps: Any, rate: Any, active: Any) -> LayerWorkload:
    """A sample of a layer whose inputs and neurons all fire at one rate.

    Its output spikes are one sum: the energy needs no more, and sizes may be traced.
    """
    g = geometry
    inputs = jnp.stack([jnp.asarray(n, jnp.result_type(float)) for n in g.inputs_by_fan_out])[None]
    fires = rate if g.spiking else 0 * rate
    words = steps if g.input_kind == "analog" else 1
    back = rate * (steps - 1) * g.neurons if g.recurrent_weights else 0 * rate
    return LayerWorkload(
        events_by_fan_out=inputs * (words if g.real else rate * steps),
        active=inputs * (1 if g.real else active),
        recurrent_events=jnp.reshape(back, (1,)),
        spikes=jnp.reshape(fires * steps * g.neurons, (1, 1)),
        steps=steps,
        geometry=g,
    )


def _shapes(layers: Sequence[Geometry] | None, point: Mapping[str, Any]) -> Sequence[Geometry]:
    return (_dense(*(point[name] for name in SIZES)),) if layers is None else layers


def _machine(hardware: Hardware, point: Mapping[str, Any]) -> Hardware:
    """The machine with the design parameters and constants of a point."""
    check_hardware(hardware)
    changed = {name: value for name, value in point.items() if name not in WORK}
    parameters = {n: v for n, v in changed.items() if n in hardware.architecture.parameters}
    constants = {n: v for n, v in changed.items() if n not in parameters}
    if constants:
        hardware = hardware.with_constants(**constants)
    return hardware.with_design(**parameters) if parameters else hardware


def _fits(hardware, layers, point) -> None:
    """ValueError where the layers do not fit the machine; silent about what is traced."""
    machine = _machine(hardware, point)
    machine.check([(machine.design, geometry) for geometry in _shapes(layers, point)])


def _list_of(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values, float)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected a list of numbers for {name}, found {shown(values)}") from None


def _with_ratio(hardware: Hardware, ratio: jax.Array, point: Mapping[str, Any]) -> jax.Array:
    """The ratio; ValueError where it is known to be none: zero over zero, or over zero."""
    if is_concrete(ratio) and not (finite := np.isfinite(np.asarray(ratio))).all():
        first = np.flatnonzero(~finite.ravel())[0]
        at = {name: np.ravel(v)[first] if np.ndim(v) else v for name, v in point.items()}
        raise ValueError(
            f"the quantised network costs nothing on {hardware.name} at "
            f"{ {name: float(value) for name, value in at.items()} }, so that there is no ratio"
        )
    return ratio


def _static(layers: Sequence[Geometry] | None) -> tuple[Geometry, ...] | None:
    return None if layers is None else tuple(layers)


def _search(hardware, layers, point, along, ends, rising) -> tuple[tuple[Any, Any], bool]:
    """Range and direction of a search, checked together with the rest of its point."""
    if not isinstance(along, str):
        raise ValueError(f"expected the name of a number for along, found {shown(along)}")
    search_range = SEARCH.get(along, (None, None, False))
    low, high = (k if end is None else end for end, k in zip(ends, search_range, strict=False))
    if along in point:
        raise ValueError(f"{along!r} is looked for: leave it out of the point")
    if low is None or high is None:
        raise ValueError(f"where to look for {along!r}? give low and high")
    for name, end in {"low": low, "high": high}.items():
        check_number(name, end)
    if is_concrete(low) and is_concrete(high) and not 0 < low < high:
        raise ValueError(f"expected 0 < low < high for {along!r}, found {low} and {high}")
    for end in (low, high):
        _check(hardware, layers, {**point, along: end})
    return (low, high), search_range[2] if rising is None else rising


def _check(hardware, layers, point) -> None:
    """ValueError if the point is incomplete, or a number of it unknown or out of range."""
    dense_only = [name for name in SIZES if name in point]
    if layers is not None and (dense_only or not len(layers)):
        raise ValueError(
            f"expected one layer or more in place of fan_in and neurons, found {len(layers)} "
            f"beside {dense_only}"
        )
    needed = [n for n in WORK if n not in OPTIONAL and (layers is None or n not in SIZES)]
    if missing := [name for name in needed if name not in point]:
        raise ValueError(f"a design point needs {needed}, found no {missing}")
    check_hardware(hardware)
    ranges = _ranges(hardware)
    for name, value in point.items():
        if name not in ranges:
            raise ValueError(
                f"{hardware.name} has no {name!r}; a design point takes {list(WORK)}, its design "
                f"parameters {list(hardware.architecture.parameters)} and its constants "
                f"{list(hardware.technology.constants)}"
            )
        check_number(name, value, *ranges[name])


def _ranges(hardware: Hardware) -> dict[str, tuple[float, float]]:
    """Least and largest value of every number of a design point."""
    constants = hardware.technology.constants
    ranges = {name: (0, largest(constant.unit)) for name, constant in constants.items()}
    return ranges | {name: BOUNDS[name] for name in hardware.architecture.parameters} | WORK


def _verdict(ends: Sequence[float]) -> str:
    if all(end <= 1 for end in ends):
        return "spikes always win"
    if all(end > 1 for end in ends):
        return "the QNN always wins"
    return "the ratio never rises above one again"


def _floats(point: Mapping[str, Any]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(value, jnp.result_type(float)) for name, value in point.items()}

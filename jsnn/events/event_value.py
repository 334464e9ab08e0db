"""Value of one event in frames: passed from layer to layer, checked where it is unknown.

Layers know what they send: neurons 0 or 1, an average pool 1/window² for each spike, dropout in
training 1/(1 - rate). They note it beside the array that they return, and the layer that gets this
very array counts by it. For any other array, such as frames from outside or spikes that a function
of the user's has changed, every value is checked instead.
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# How far a value may lie from a whole multiple of the unit: relative to it, and in units.
_RELATIVE, _MOST = 1e-3, 0.25

Unit = float | tuple[float, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Sent:
    """Known facts about the values of frames.

    Attributes:
        spikes: they are sums of events of the unit, 0 or more; False: they have to be checked.
        unit: value of one event without dropout; None: as the layer that gets it declares.
        pooled: factor that pools put on a unit that is not known here.
        kept: factor that dropout put on events; None where branches with different ones were added.
        single: no value is more than one event.
        events: how many events each value is, where branches with events of different value were
            added, so that no unit says it.
        magnitude: sum of the magnitudes of all that was added up to each value, where events of
            both signs may have cancelled; None where nothing was added up.
        outside: whether they come from outside of the network; False: from its neurons; None where
            that is unknown.
    """

    spikes: bool = False
    unit: float | None = None
    pooled: float = 1.0
    kept: float | None = 1.0
    single: bool = False
    events: jax.Array | None = None
    magnitude: jax.Array | None = None
    outside: bool | None = None

    @property
    def binary(self) -> bool:
        """Whether every value is 0 or 1."""
        return self.single and self.unit == 1 and self.kept == 1

    def pool(self, share: float) -> Sent:
        """After an average pool that sends `share` of each event's value."""
        if self.unit is None:
            return dataclasses.replace(self, pooled=self.pooled * share)
        return dataclasses.replace(self, unit=self.unit * share, single=False)

    def each(self, function: Callable[[jax.Array], jax.Array]) -> Sent:
        """The same after a function of each array that is kept beside the values."""
        arrays = {"events": self.events, "magnitude": self.magnitude}
        kept = {name: function(array) for name, array in arrays.items() if array is not None}
        return dataclasses.replace(self, **kept)

    def drop(self, factor: float) -> Sent:
        """After dropout that multiplies what it keeps by a factor."""
        return dataclasses.replace(self, kept=None if self.kept is None else self.kept * factor)

    def resolve(self, declared: Unit | None) -> tuple[Any, float | None]:
        """Value of one event without dropout, and the factor of dropout.

        Args:
            declared: `input_unit` of the layer that gets the frames.

        Raises:
            ValueError: it declares another unit than the known one.
        """
        if self.unit is None:
            return (self.pooled if declared is None else declared), self.kept
        if declared is not None and not np.allclose(declared, self.unit, rtol=_RELATIVE):
            raise ValueError(
                f"input_unit is {declared}, but the layers before send events of value "
                f"{self.unit:g}: leave input_unit away, it is handed on"
            )
        return self.unit, self.kept


NOTHING = Sent()
SPIKES = Sent(spikes=True, unit=1.0, single=True, outside=False)
# By identity: an array under trace has no hash, and comparing two of them is an operation.
_notes: dict[int, tuple[weakref.ref, Sent]] = {}


def check_unit(unit: Any, channels: int, layer: str) -> None:
    """Raise ValueError unless it is a positive number, or a tuple of one for each channel.

    >>> check_unit((0.5, 1.0), 2, "hidden")
    """
    numbers = unit if isinstance(unit, tuple) else (unit,)
    kinds = int, float, np.integer, np.floating
    real = [isinstance(n, kinds) and not isinstance(n, bool) for n in numbers]
    fits = not isinstance(unit, tuple) or len(unit) == channels
    if not (fits and all(real) and all(math.isfinite(n) and n > 0 for n in numbers)):
        raise ValueError(
            f"layer {layer!r}: input_unit, the value of one event, must be a positive number, or a "
            f"tuple of one for each of the {channels} channels, got {unit!r}"
        )


def note(values: jax.Array, sent: Sent) -> jax.Array:
    """The same array, with what is known of its values noted.

    >>> sent(note(jnp.ones(2), SPIKES)).unit, sent(jnp.ones(2)).unit
    (1.0, None)
    """
    number = id(values)
    # When the interpreter ends, arrays may outlive the names of this module.
    _notes[number] = weakref.ref(values, lambda _, notes=_notes: notes.pop(number, None)), sent
    return values


def sent(values: Any) -> Sent:
    """The note on this very array; `NOTHING` for any other."""
    reference, facts = _notes.get(id(values), (None, NOTHING))
    return facts if reference is not None and reference() is values else NOTHING


def outside(values: Any) -> Any:
    """The same frames, noted as what comes into the network."""
    return note(values, dataclasses.replace(sent(values), outside=True))


def either_outside(left: Sent, right: Sent) -> bool | None:
    """Whether one of two branches comes from outside; None where that depends on an unknown one.

    >>> either_outside(Sent(outside=True), NOTHING), either_outside(SPIKES, NOTHING)
    (True, None)
    """
    return left.outside or (None if None in (left.outside, right.outside) else right.outside)


def magnitude(values: jax.Array) -> jax.Array:
    """`|values|`, or the sum of the magnitudes of what was added up to each of them.

    >>> magnitude(jnp.array([-128, 3], jnp.int8)).tolist()
    [128.0, 3.0]
    """
    facts = sent(values)
    return jnp.abs(wide(values)) if facts.magnitude is None else facts.magnitude


def summed(values: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
    """The sum of two branches, with what is known of it noted.

    Events of one value are counted by value; where the branches send events of different values (an
    average pool in one of them, say) those of both are counted apart and kept beside the sum.
    """
    left, right = sent(first), sent(second)
    from_outside = either_outside(left, right)
    if not (left.spikes and right.spikes):
        # Events of both signs may cancel in it.
        parts, kept = magnitude(first) + magnitude(second), _common(left, right)
        sums = Sent(magnitude=parts, kept=kept, outside=from_outside)
        if left.unit == right.unit and left.pooled == right.pooled:
            sums = dataclasses.replace(sums, unit=left.unit, pooled=left.pooled)
        return note(values, sums)
    if left.events is None and right.events is None and left.unit == right.unit:
        kept = _common(left, right)
        sums = dataclasses.replace(left, kept=kept, single=False, outside=from_outside)
        return note(values, sums)
    events = _events(first, left) + _events(second, right)
    return note(values, Sent(spikes=True, events=events, outside=from_outside))


def _common(left: Sent, right: Sent) -> float | None:
    return left.kept if left.kept == right.kept else None


def _events(values: jax.Array, facts: Sent) -> jax.Array:
    return wide(values) / facts.unit if facts.events is None else facts.events


def reshaped(values: jax.Array, before: jax.Array) -> jax.Array:
    """The same values in another shape, with what is known of them noted."""
    return note(values, sent(before).each(lambda array: array.reshape(values.shape)))


def wide(values: jax.Array) -> jax.Array:
    """Values in the type in which events are counted: float32, or wider where they are.

    >>> wide(jnp.ones(1, jnp.int8)).dtype, wide(jnp.ones(1, jnp.bfloat16)).dtype
    (dtype('float32'), dtype('float32'))
    """
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def real(values: jax.Array) -> jax.Array:
    """Values as floats: integers and booleans as float32.

    >>> real(jnp.ones(1, jnp.int8)).dtype, real(jnp.ones(1, jnp.bfloat16)).dtype
    (dtype('float32'), dtype(bfloat16))
    """
    return values if jnp.issubdtype(values.dtype, jnp.floating) else wide(values)


def whole(values: jax.Array, unit: Any = 1.0, kept: float = 1.0) -> jax.Array:
    """Number of events in each value, NaN where it is no whole multiple of the unit.

    `n = round(value / (unit · kept))`, counted as `n · kept`. A value counts as a multiple within a
    thousandth of it (and the rounding of its own type), at most a quarter of a unit. The gradient
    is that of `value / unit`.

    >>> whole(jnp.array([0.0, 0.5, 0.4, -0.5]), unit=0.25).tolist()
    [0.0, 2.0, nan, nan]
    """
    number = wide(values)
    if not np.all(np.equal(np.multiply(unit, kept), 1)):
        number = number / (jnp.asarray(unit, number.dtype) * kept)
    # Few operations: with more, XLA on the CPU builds an array instead of fusing into the sum.
    counted = _nearest(number)
    fits = near_multiple(number, jax.lax.stop_gradient(counted), values.dtype, jnp)
    return jnp.where(fits, counted if kept == 1 else kept * counted, jnp.nan)


@jax.custom_jvp
def _nearest(number: jax.Array) -> jax.Array:
    """The nearest whole number, with the gradient of the number itself."""
    return jnp.round(number)


@_nearest.defjvp
def _nearest_jvp(primals, tangents):
    return _nearest(*primals), tangents[0]


def near_multiple(number: Any, nearest: Any, dtype: Any, numpy: Any = np) -> Any:
    """Whether numbers of events equal, within rounding, the whole numbers beside them.

    Args:
        number, nearest: numbers of events, and the same rounded.
        dtype: of the values that they come from; in two bytes these are rounded themselves.
        numpy: module of the arrays, `numpy` or `jax.numpy`.
    """
    rounding = 2 * float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0
    allowed = numpy.minimum((_RELATIVE + rounding) * nearest, _MOST)
    if rounding > _RELATIVE:
        allowed += rounding * nearest
    return numpy.abs(number - nearest) <= allowed

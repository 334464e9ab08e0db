"""The layer of spiking neurons: a synapse over all steps at once, its neurons scanned over time."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jsnn._ops.precision import F32, Precision
from jsnn._time_axis import merge, part, total
from jsnn.events import EventFrames
from jsnn.events import currents as event_currents
from jsnn.events.event_value import SPIKES, Sent, Unit, check_unit, note, real, sent, whole, wide
from jsnn.neurons import (
    NEURONS,
    Fixed,
    Neuron,
    in_force,
    legal_constants,
    trainable,
    untrained_leaves,
)
from jsnn.nn import event_counts
from jsnn.nn.layer_workload import SentSpikes, check_spikes, finite_counts, layer_workload
from jsnn.nn.spike_products import Product, binary, product_workloads
from jsnn.nn.synapses import find_connectivity
from jsnn.readouts import PerStep, Readout, Several, SpikeCount, decides_per_step
from jsnn.unroll import DenseRecurrence, FoldState, Plan, fold, start_fold, unroll
from jsnn.workload import INPUT_KINDS, Connectivity, Geometry, InputKind, LayerWorkload

CONSTANTS = "constants"
WORKLOAD = "workload"
STATE = "state"
START = "start"
# Collections of variables without weights.
PASSING = (CONSTANTS, WORKLOAD, STATE, START, "batch_stats", "intermediates", "perturbations")

# A layer that returns spikes has nothing to read out: every step is a result.
_NOTHING = PerStep()
_UNIT_SPIKES = {each for each in NEURONS.values() if each.spiking} | {Fixed}


def constants_of(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """The initial constants of all neurons, by layer.

    Raises:
        ValueError: variables without them.

    >>> constants_of({"params": {}, "constants": {"hidden": {"neuron": {"r": 1.0}}}})
    {'hidden': {'neuron': {'r': 1.0}}}
    """
    if CONSTANTS not in variables:
        raise ValueError(
            f"expected the collection {CONSTANTS!r} among the variables, found "
            f"{sorted(variables)}: pass on all that `init` returned, "
            "{**variables, 'params': params}"
        )
    return variables[CONSTANTS]


class Spiking(nn.Module):
    """A synapse, applied to all steps at once, and a population of neurons, scanned over time.

    current_t = norm(synapse(x_t)) + R spikes_(t-1)
    state_t, spikes_t = neuron(state_(t-1), current_t)

    The spike of step t depends on the input of step t: a layer adds no delay.

    Attributes:
        synapse: a module with a registered `jsnn.nn.synapses.connectivity` (Dense, Conv). Created
            inside a compact method it needs `parent=None`, else flax files it under the outer
            module.
        neuron: the neuron model of the population (`jsnn.neurons`). Its constants are drawn once,
            into the collection `constants`; `params` has the trained leaves (`neuron.trainable`),
            relative to these constants (`jsnn.neurons.trained`).
        input_kind: kind of the input (see `jsnn.workload.Geometry`). With `constant` the synapse is
            computed once, on the first frame, and its current applied at every step. Frames that
            are `spikes` or `events` may be `jsnn.events.EventFrames` if the synapse is `nn.Dense`:
            the same outputs up to rounding, the same workload.
        norm: a normalisation of currents, statistics over time and batch (`batch_norm()`,
            `td_batch_norm()`); at inference it folds into the weights and costs a bias.
        recurrent: all-to-all recurrence inside the population (flat frames only).
        recurrent_init: initialiser of the recurrent weights.
        input_unit: value of one input event, a number or one for each channel; None: as the layers
            before pass it on, 1 for frames from outside.
        random_state: in training, start from the neuron's random initial state (needs the rng
            stream `state`).
        readout: reduction over time; the layer then returns its result instead of spikes.
        plan: plan of running the population over time (`jsnn.unroll.PLANS`, a name or a plan); by
            `jsnn.unroll.choose` if None.
        precision: of the recurrent product; a synapse has its own (`Precision.dense`).

    Raises:
        ValueError: an invalid neuron or readout (such as a class in place of an instance);
            variables without the constants of the layer, illegal constants, or trained leaves that
            its neuron does not train; unknown input kind or illegal input unit, frames
            without `[T, B, features]`, recurrence on images; a plan that cannot run this
            population; `EventFrames` for another input kind or unit, or another synapse; where
            activity is recorded outside of `jit`, frames that are not what `input_kind` and
            `input_unit` say (inside, their counts are NaN, and so is the energy).

    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> from jsnn.neurons import LIF
    >>> layer = Spiking(nn.Dense(3), LIF(tau_mem=5e-3))
    >>> frames = jnp.ones((4, 2, 5))
    >>> variables = layer.init(jax.random.key(0), frames)
    >>> layer.apply(variables, frames).shape
    (4, 2, 3)
    """

    synapse: nn.Module
    neuron: Neuron
    input_kind: InputKind = "spikes"
    norm: nn.Module | None = None
    recurrent: bool = False
    recurrent_init: Callable = nn.initializers.orthogonal()
    input_unit: Unit | None = None
    random_state: bool = False
    readout: Readout | None = None
    plan: Plan | str | None = None
    precision: Precision = F32

    @nn.compact
    def __call__(self, frames: jax.Array | EventFrames, train: bool = False) -> jax.Array:
        """Frames `[T, B, *input_shape]` to spikes `[T, B, *output_shape]` or a readout's result."""
        self._check(frames)
        currents = self._currents(frames, train)
        channels = currents.shape[-1]
        constants = self._constants(channels, currents.dtype)
        feedback = None
        if self.recurrent:
            weights = self.param("recurrent", self.recurrent_init, (channels, channels))
            narrow = functools.partial(self.precision.matmul, b=weights)
            feedback = DenseRecurrence(weights) if self.precision == F32 else narrow
        params = in_force(self.neuron, constants, self._trained(constants))
        before = self.get_variable(STATE, "population")
        before = before or self._start(params, currents, train)
        out, counts, after = self._populate(params, currents, before, feedback)
        potential = self.neuron.potential(after.neuron)
        if self.is_mutable_collection(STATE):
            after = after._replace(neuron=_nan_where_infinite(after.neuron, potential))
        self._keep("population", before, after)
        if self.is_mutable_collection(WORKLOAD) and not self.is_initializing():
            legal = legal_constants(self.neuron, params)
            counts = finite_counts(counts, potential, legal)
            if not self._unit_spikes:
                check_spikes(counts, potential, self.neuron, self._label)
            sent_spikes = SentSpikes.of(
                counts,
                self._events(out) if self.readout is None else None,
                self._events(before.spikes),
                self._events(after.spikes),
                steps=frames.shape[0],
                spiking=self.neuron.spiking,
                recurrent=self.recurrent,
            )
            for name, record in self._records(frames, sent_spikes).items():
                self.sow(WORKLOAD, name, record)
        if self.readout is not None:
            return out
        graded = Sent(unit=self._spike_value, outside=False)
        return note(out, SPIKES if self._unit_spikes else graded)

    @property
    def _label(self) -> str:
        """Name of the layer in records and messages: its path, or a name that it was given."""
        return "/".join(self.path) or self.name or "layer"

    @property
    def _spike_value(self) -> float:
        return getattr(self.neuron, "spike_value", 1.0)

    def _events(self, spikes: jax.Array) -> jax.Array:
        """Number of spikes that each value sent by a neuron stands for."""
        return spikes if self._spike_value == 1 else wide(spikes) / self._spike_value

    @property
    def _unit_spikes(self) -> bool:
        """Whether its neurons are known to send 0 or 1; for user-defined neurons it is checked."""
        return type(self.neuron) in _UNIT_SPIKES

    def _constants(self, channels: int, dtype) -> dict[str, jax.Array]:
        """Initial constants, one set per channel: images share them over space, as weights."""
        if not (self.is_initializing() or self.has_variable(CONSTANTS, "neuron")):
            raise ValueError(
                f"{self._label}: the variables hold no constants of its "
                "neurons; pass on all that `init` returned: {**variables, 'params': params}"
            )

        def build():
            return self.neuron.init_params(self.make_rng("params"), (channels,), dtype)

        constants = self.variable(CONSTANTS, "neuron", build).value
        for leaf, legal in legal_constants(self.neuron, constants).items():
            if not isinstance(legal, jax.core.Tracer) and not legal.all():
                raise ValueError(
                    f"layer {self._label!r}: its constant {leaf!r} is "
                    f"{float(constants[leaf][~legal][0]):g}, which is no legal value; "
                    "constants are not trained: give an optimiser variables['params'] alone, and "
                    "name what is trained in the neuron (trainable=...)"
                )
        return constants

    def _trained(self, constants: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Trained leaves, relative to the initial constants."""
        # Drawn last, so that the keys of the weights do not depend on which constants are trained.
        if self.is_initializing() and trainable(self.neuron):
            return self.param("neuron", lambda key: untrained_leaves(self.neuron, constants))
        return self.get_variable("params", "neuron", {})

    def _gather(self) -> Readout:
        """The reduction over time: the readout's result and the spikes of every neuron."""
        if self.readout is None:
            return _NOTHING
        if not self.neuron.spiking:
            return self.readout
        return Several(
            (self.readout, SpikeCount() if self._unit_spikes else _CheckedCount(self._spike_value))
        )

    def _start(self, params, currents, train: bool) -> FoldState:
        """State at the start of a window."""
        gather, steps = self._gather(), currents.shape[0]
        asked = self.is_mutable_collection(START) and not self.is_initializing()
        if steps < gather.min_steps and not asked:
            raise ValueError(
                f"{gather} needs at least {gather.min_steps} steps, got {steps}; lengthen the "
                "window, or feed it in pieces (jsnn.nn.stream)"
            )
        drawn = train and self.random_state and not self.is_initializing()
        key = self.make_rng("state") if drawn else None
        return start_fold(self.neuron, params, gather, currents.shape[1:], currents.dtype, key=key)

    def _populate(self, params, currents, before: FoldState, feedback):
        """Result, spikes of every neuron summed over time, and the state to continue from."""
        neuron = self.neuron
        if not self._unit_spikes:
            _, sent_type = jax.eval_shape(neuron.step, params, before.neuron, currents[0])
            if not jnp.issubdtype(sent_type.dtype, jnp.floating):
                raise ValueError(
                    f"layer {self._label!r}: {type(neuron).__name__} sends {sent_type.dtype}, "
                    "through which no gradient passes: give spikes the type of the current "
                    "(spikes.astype(current.dtype))"
                )
        if self.readout is not None:
            options = {"recurrent": feedback, "plan": self.plan}
            after, out = fold(neuron, params, currents, self._gather(), before, **options)
            if not neuron.spiking:
                silent = jnp.zeros_like(before.spikes)
                return out, silent, after._replace(spikes=silent)
            out, counts = out
            return out, counts - before.carry[1], after
        if not neuron.spiking:
            raise ValueError(
                f"{type(neuron).__name__} sends no spikes: give the layer a readout or "
                "another neuron"
            )
        options = {"recurrent": feedback, "spikes_before": before.spikes} if feedback else {}
        state, out = unroll(neuron, params, currents, before.neuron, plan=self.plan, **options)
        after = FoldState(state, out[-1], (), before.steps + jnp.int32(len(out)))
        return out, total(out if self._unit_spikes else whole(out, self._spike_value)), after

    def _keep(self, name: str, before: Any, after: Any) -> None:
        """Store the value at the start of a window, and that for its next piece."""
        for collection, value in ((START, before), (STATE, after)):
            if self.is_mutable_collection(collection) and not self.is_initializing():
                self.put_variable(collection, name, value)

    def _check(self, frames):
        self._check_parts(frames)
        if frames.ndim < 3:
            raise ValueError(
                f"frames must be [T, B, ...], got shape {list(frames.shape)}: of one sample "
                "frames[:, None]"
            )
        if frames.shape[0] == 0:
            raise ValueError("frames have no time step (T = 0); a network needs at least one")
        if self.input_kind not in INPUT_KINDS:
            raise ValueError(f"input_kind must be one of {INPUT_KINDS}, got {self.input_kind!r}")
        if isinstance(frames, EventFrames):
            self._check_events()
        unit_spikes = self.input_kind == "spikes" and self.input_unit in (None, 1)
        if isinstance(self.synapse, Product) and not unit_spikes:
            raise ValueError(
                "a product of spikes takes 0/1 spikes of layers: input_kind 'spikes' and "
                f"input_unit 1, got {self.input_kind!r} and {self.input_unit}"
            )
        if self.recurrent and frames.ndim != 3:
            raise ValueError(
                "recurrence needs flat frames [T, B, features], got shape "
                f"{list(frames.shape)}; put jsnn.nn.layers.Flatten() before this layer"
            )

    def _check_parts(self, frames):
        for field, protocol in (("neuron", Neuron), ("readout", Readout)):
            value = getattr(self, field)
            if field == "readout" and value is None:
                continue
            if isinstance(value, type) or not isinstance(value, protocol):
                hint = f": make one, {value.__name__}()" if isinstance(value, type) else ""
                raise ValueError(
                    f"layer {self._label!r}: expected a {field} (jsnn.{field}s), found "
                    f"{value!r}{hint}"
                )
        if self.input_unit is not None:
            check_unit(self.input_unit, frames.shape[-1], self._label)

    def _check_events(self):
        if self.input_kind not in ("spikes", "events") or self.input_unit not in (None, 1):
            raise ValueError(
                "EventFrames are events of value 1: input_kind 'events' (or 'spikes') and "
                f"input_unit 1, got {self.input_kind!r} and {self.input_unit}"
            )

    def _currents(self, frames, train):
        constant = self.input_kind == "constant"
        currents = self.get_variable(STATE, "current") if constant else None
        if currents is None:
            # Products of integers would stay integers, and overflow.
            given = real(frames) if isinstance(self.synapse, Product) else frames
            currents = per_frame(self.synapse, given[:1] if constant else given)
            if self.norm is not None:
                currents = self.norm(currents, use_running_average=not train)
        if constant:
            self._keep("current", currents, currents)
            if self.is_mutable_collection(STATE) or self.is_mutable_collection(START):
                changed = self._nan_where_changed(frames).astype(currents.dtype)
                currents = currents + changed.reshape(-1, *(1,) * (currents.ndim - 2))
        return jnp.broadcast_to(currents, (frames.shape[0], *currents.shape[1:]))

    def _records(self, frames, sent_spikes: SentSpikes) -> dict[str, LayerWorkload]:
        """Records to store, by name: one, or one for each product of spikes."""
        if not isinstance(self.synapse, Product):
            wiring = find_connectivity(self.synapse, frames.shape[2:])
            name = f"layer {self._label!r}: {type(self.synapse).__name__}"
            wiring.check(frames.shape[2:], sent_spikes.counts.shape[1:], name)
            self._check_synapse(wiring.weights + wiring.biases)
            return {"record": self._record(wiring, frames, sent_spikes)}
        self._check_synapse(0)
        stages = self.synapse.stages(binary(frames, self._label))
        arrived = [stage.totals for stage in stages]
        before = self.get_variable(STATE, "arrived", jax.tree.map(jnp.zeros_like, arrived))
        self._keep("arrived", before, jax.tree.map(jnp.add, before, arrived))
        records = product_workloads(
            stages,
            self._label,
            ops=self.neuron.ops,
            spiking=self.neuron.spiking,
            per_step=decides_per_step(self.readout),
            bias=self.norm is not None,
            parameters=self._parameters(),
            spikes=sent_spikes.counts,
            before=before,
            from_outside=sent(frames).outside,
        )
        return {stage.name: record for stage, record in zip(stages, records, strict=True)}

    def _record(self, wiring: Connectivity, frames, sent_spikes: SentSpikes) -> LayerWorkload:
        facts = sent(frames)
        if not isinstance(frames, EventFrames | jax.core.Tracer):
            event_counts.check_frames(frames, self.input_kind, self.input_unit, facts, self._label)
        constant = self.input_kind == "constant"
        before = self.get_variable(STATE, "arrived")
        record, after = layer_workload(
            frames,
            sent_spikes,
            wiring,
            self._geometry(wiring, sent_spikes.counts.shape[1:], facts.outside),
            unit=self.input_unit,
            facts=facts,
            before=before,
            changed=self._nan_where_changed(frames) if constant else None,
        )
        self._keep("arrived", jnp.zeros_like(after) if before is None else before, after)
        return record

    def _check_synapse(self, accounted: int) -> None:
        # Weights that are not trained may be in a separate collection.
        stored = {n: v for n, v in self.synapse.variables.items() if n not in PASSING}
        parameters = sum(leaf.size for leaf in jax.tree.leaves(stored))
        if parameters != accounted:
            raise ValueError(
                f"layer {self._label!r}: {type(self.synapse).__name__} has "
                f"{parameters} parameters, its connectivity accounts for {accounted} (weights and "
                "biases): register one that says all (@jsnn.nn.synapses.connectivity.register)"
            )

    def _nan_where_changed(self, frames) -> jax.Array:
        """`[B]`, 0 if every frame of a constant input equals the first, else NaN."""
        shown = self.get_variable(STATE, "shown", frames[0])
        self._keep("shown", shown, shown)
        # Dropout may round differently in two programs, such as those of two pieces of a window.
        near = jnp.abs(wide(frames) - wide(shown)) <= 1e-5 * jnp.abs(wide(shown))
        same = near.all(axis=(0, *range(2, frames.ndim)))
        return jnp.where(same, 0.0, jnp.nan).astype(wide(frames[:0]).dtype)

    def _geometry(
        self, wiring: Connectivity, output_shape: tuple[int, ...], from_outside: bool | None
    ) -> Geometry:
        return Geometry.of(
            wiring,
            self.neuron.ops,
            output_shape,
            recurrent=self.recurrent,
            folded_bias=self.norm is not None,
            name=self._label,
            input_kind=self.input_kind,
            spiking=self.neuron.spiking,
            per_step=decides_per_step(self.readout),
            # There is a record already: the same layer has run before in this pass.
            shared=self.has_variable(WORKLOAD, "record"),
            from_outside=from_outside,
            parameters=self._parameters(),
        )

    def _parameters(self) -> tuple[str, ...]:
        """Paths of the parameters of the record; the synapse may belong to an outer module."""
        own = "/".join(self.path)
        paths = ["/".join(self.synapse.path)]
        if self.norm is not None:
            paths.append("/".join(self.norm.path))
        return (*paths, *(f"{own}/{name}".strip("/") for name in ("neuron", "recurrent")))


def _nan_where_infinite(state: Any, potential: jax.Array) -> Any:
    """The state, NaN where its membrane is not finite, which a reset could otherwise hide."""
    finite = jnp.isfinite(potential)

    def mark(leaf):
        fits = leaf.shape == finite.shape and jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.where(finite, leaf, jnp.nan) if fits else leaf

    return jax.tree.map(mark, state)


@dataclasses.dataclass(frozen=True)
class _CheckedCount(SpikeCount):
    """Number of spikes, NaN once a value is invalid (a fraction of a spike, or negative)."""

    value: float = 1.0

    def update(self, carry: jax.Array, potential: jax.Array, spikes: jax.Array, t: jax.Array):
        """Add the spikes."""
        return carry + whole(spikes, self.value), None


def per_frame(module: Callable, frames: jax.Array) -> jax.Array:
    """Apply a module without time to all steps at once, as one batch of T B frames."""
    if isinstance(frames, EventFrames):
        return _dense_of_events(module, frames)
    return part(module(merge(frames)), *frames.shape[:2])


def _dense_of_events(synapse: Callable, frames: EventFrames) -> jax.Array:
    """The currents of flax's Dense and its parameters, without its matrix product."""
    if type(synapse) is not nn.Dense:
        raise ValueError(
            "only a Spiking layer with an nn.Dense synapse takes EventFrames; give anything else "
            "jsnn.events.dense(events)"
        )
    if synapse.dot_general is not None or synapse.dot_general_cls is not None:
        raise ValueError(
            "events are read without a matrix product, so that the synapse's own dot_general would "
            "go unused; leave it away or give the layer jsnn.events.dense(events)"
        )
    # An empty batch is enough for it to create or find its parameters.
    nothing = synapse(jnp.zeros((0, frames.size), frames.dtype))
    params = {k: v.astype(nothing.dtype) for k, v in synapse.variables["params"].items()}
    out = event_currents(frames, params["kernel"])
    return out + params["bias"] if "bias" in params else out

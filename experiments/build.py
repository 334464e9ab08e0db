"""Objects that a config names; an unknown name is an error that lists the valid ones."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import optax

from experiments import machines, pruned, windows
from jsnn import data
from jsnn._ops.precision import PRECISIONS
from jsnn.codesign.bit_widths import Bits, Width
from jsnn.data.encoders import ENCODERS
from jsnn.data.own import imported
from jsnn.hardware import Hardware
from jsnn.hardware import get as get_hardware
from jsnn.models import MODELS
from jsnn.neurons import LI, NEURONS, Fixed, Neuron
from jsnn.readouts import READOUTS, PerStep, Readout
from jsnn.surrogate import SURROGATES, Custom
from jsnn.train.budget import RESOURCES, Budget
from jsnn.train.levers import Lever, Levered, under
from jsnn.train.losses import LOSSES, takes_classes
from jsnn.train.objective import DeadNeurons, Term, energy_terms
from jsnn.train.optimiser import label_leaf, make_optimiser
from jsnn.units import parse as parse_quantity

NAMED = {
    "task": {name: loss for name, loss in LOSSES.items() if takes_classes(loss)},
    "neuron": NEURONS,
    # A custom derivative has no name.
    "surrogate": {name: kind for name, kind in SURROGATES.items() if kind is not Custom},
    "readout": READOUTS,
    "encoder": ENCODERS,
    "precision": PRECISIONS,
}

# Options of a config that limit the usage of an inference, and what they limit.
BUDGETS = {
    "energy_budget": "energy_pj",
    "latency_budget": "latency_s",
    "memory_budget": "memory_bytes",
    "area_budget": "area_mm2",
}


def check_names(config) -> None:
    """Look up every name of a config before reading its data, which can take minutes."""
    get_hardware(config.hardware)
    model_class(config.model)
    for kind, table in NAMED.items():
        name = getattr(config, kind)
        if name is not None:
            lookup(kind, table, name)


def model_class(name: str) -> type[nn.Module]:
    """The class of a network: one of the library, or `package.module:Class`.

    Its fields among the options of a run (`widths`, `classes`, `neuron`, `readout_neuron`,
    `readout`, `input_kind`, ...) are set; it is called with `(frames, train)`. It is given images
    where it has an attribute `images` that is true.

    Raises:
        ValueError: no such name, or something else than a class of flax modules.
    """
    if ":" not in name:
        return lookup("model", MODELS, name)
    model = imported(name, "a class of flax modules")
    if not isinstance(model, type) or not issubclass(model, nn.Module):
        raise ValueError(f"--model {name}: expected a class of flax.linen modules, found {model!r}")
    return model


def lookup(kind: str, table: Mapping[str, Any], name: str) -> Any:
    """`table[name]`, or a ValueError that lists the valid names."""
    keys = {key.replace("_", "-"): value for key, value in table.items()}
    if name not in keys:
        raise ValueError(f"unknown {kind} {name!r}; valid: {sorted(keys)}")
    return keys[name]


def dataset(config) -> data.Dataset:
    """The data set of a config, with at most `limit` samples per split if that is set."""
    options = data_options(config)
    loaded = data.load(config.dataset, config.data_dir, seed=config.split_seed, **options)
    if config.fold is not None:
        loaded = data.folds(loaded, config.fold, config.folds, config.split_seed)
    if config.refit:
        loaded = data.refit(loaded)
    if config.limit is None:
        return loaded
    cut = {name: split[: config.limit] for name, split in loaded.splits.items()}
    return dataclasses.replace(loaded, **cut)


def data_options(config) -> dict[str, Any]:
    """Options of the data set: `key=value` pairs, parsed as the types of their defaults."""
    allowed, options, given = data.options(config.dataset), {}, {}
    if "image" in allowed and getattr(model_class(config.model), "images", False):
        options["image"] = True
    for pair in filter(None, config.data_options.split(",")):
        name, _, word = pair.partition("=")
        if name not in allowed or not word:
            raise ValueError(
                f"--data-options takes name=value pairs of {sorted(allowed)} for "
                f"{config.dataset}, got {pair!r}"
            )
        if name in given:
            raise ValueError(f"--data-options has {name} twice: {config.data_options!r}")
        given[name] = _read(name, word, allowed[name])
    return options | given


def _read(name: str, word: str, default: Any) -> Any:
    """A word parsed as the type of its option's default; text if the default is None."""
    kind = str if default is None else type(default)
    if kind is bool:
        if word not in ("True", "False"):
            raise ValueError(f"--data-options: {name} is True or False, got {word!r}")
        return word == "True"
    try:
        return kind(word)
    except ValueError as error:
        raise ValueError(
            f"--data-options: {name} is a {kind.__name__} like {default!r}, got {word!r}"
        ) from error


def hardware(config, loaded: data.Dataset) -> Hardware:
    """The machine of a config, its real-valued input words as wide as the data's."""
    machine = get_hardware(config.hardware)
    bits = config.input_bits or loaded.input_bits
    if bits is None or "input_bits" not in machine.design.parameters:
        return machine
    return machine.with_design(input_bits=bits)


def encoder(config, loaded: data.Dataset):
    """The encoder of a config, checked against the data."""
    chosen = lookup("encoder", ENCODERS, config.encoder)
    recorded = config.encoder in ("recorded", "delta")
    if recorded != loaded.timed:
        fitting = "recorded or delta" if loaded.timed else "direct, rate or latency"
        kind = "has a time axis" if loaded.timed else "is still"
        raise ValueError(
            f"data set {loaded.name!r} {kind}: use --encoder {fitting}, not {config.encoder}"
        )
    if recorded and config.steps != type(config).steps:
        raise ValueError(
            f"--steps is for still samples, {loaded.name!r} has steps of its own: take "
            "--data-options steps=N where that is among them, or --window N for its first"
        )
    if config.encoder == "delta":
        encoding = chosen(threshold=config.delta_threshold)
    else:
        encoding = chosen(analog=loaded.analog) if recorded else chosen(steps=config.steps)
    return windows.shown(config, encoding)


def limits(config) -> dict[str, float]:
    """The limits that a config sets, by what they limit, in the units of jsnn.

    Raises:
        ValueError: a limit that is not a quantity of its kind.
    """
    by_name = {}
    for option, name in BUDGETS.items():
        word = getattr(config, option)
        if word is not None:
            try:
                by_name[name] = parse_quantity(word, RESOURCES[name])
            except ValueError as error:
                raise ValueError(f"--{option.replace('_', '-')}: {error}") from error
    return by_name


def budget(config, steps: int) -> Budget | None:
    """The budget of a config for a run of `steps` optimiser steps; None without one.

    Raises:
        ValueError: an area budget on a machine whose name does not give its technology node.
    """
    limited = limits(config)
    if not limited:
        return None
    node_nm = None
    if "area_mm2" in limited:
        node_nm = machines.node_nm(config.hardware, "--area-budget")
    return Budget(**limited, node_nm=node_nm, steps=steps)


def terms(config, steps: int) -> tuple[Term, ...]:
    """The terms of the loss of a config, for a run of `steps` optimiser steps."""
    if (limited := budget(config, steps)) is not None:
        return (limited, DeadNeurons(weight=config.dead_neuron_weight))
    return energy_terms(
        config.energy_weight,
        ramp_steps=int(config.energy_ramp * steps),
        dead_neuron_weight=config.dead_neuron_weight,
    )


def step_s(loaded: data.Dataset) -> float:
    """Seconds per time step; a millisecond for data without a clock."""
    return loaded.dt_s or 1e-3


def levers(config, loaded: data.Dataset, machine: Hardware) -> tuple[Lever, ...]:
    """Levers of a config: what it trains beside the weights.

    The window comes first, since it must see whole layers; bit widths come after pruning, since
    they quantise the remaining weights.
    """
    candidates = (
        windows.lever(config, encoder(config, loaded), loaded.train.frames),
        pruned.lever(config.prune, machine),
        bits(config, machine),
        machines.lever(config, machine, limits(config)),
    )
    return tuple(lever for lever in candidates if lever is not None)


def trained(config, loaded: data.Dataset, machine: Hardware) -> nn.Module | Levered:
    """The network of a config as it is trained, including any levers."""
    # A learned window needs the output of every step.
    fold = PerStep(decides=False) if windows.learned(config) else None
    model = network(config, loaded, encoder(config, loaded).input_kind, fold)
    return under(model, levers(config, loaded, machine))


def bits(config, machine: Hardware) -> Bits | None:
    """The lever of bit widths; None if the config sets none."""
    if config.weight_bits is None:
        if config.state_bits is not None:
            raise ValueError("--state-bits needs --weight-bits: decays are as wide as weights")
        return None
    weights, states = (width(config, name, machine) for name in ("weight_bits", "state_bits"))
    return Bits(weights, states)


def width(config, name: str, machine: Hardware) -> Width | int | None:
    """Bits of a config: a number, or `learned` between the machine's width and 2."""
    word, most = getattr(config, name), machine.design.parameters.get(name, 8)
    if word is None:
        return None
    if word == "learned":
        return Width(most, 2, int(most))
    if not word.isdecimal():
        flag = "--" + name.replace("_", "-")
        raise ValueError(f"{flag} must be a number of bits, learned or none, got {word!r}")
    return int(word)


def as_run(config, loaded: data.Dataset, machine: Hardware, variables: Any) -> windows.Chosen:
    """The network as run after training; a learned window is already fixed (`windows.settled`)."""
    return windows.Chosen(trained(config, loaded, machine), variables, encoder(config, loaded))


def network(
    config, loaded: data.Dataset, input_kind: str, fold: Readout | None = None
) -> nn.Module:
    """The model of a config for a data set, without levers; `fold` in place of its readout."""
    model = model_class(config.model)
    dt = step_s(loaded)
    dynamics, fold = neuron(config, dt), fold or readout(config)
    integrator = LI(tau_mem=config.readout_tau_steps * dt, r=config.readout_gain, dt=dt)
    integrator = as_asked(integrator, config)
    if config.state_bits is not None:
        dynamics, integrator = Fixed(dynamics), Fixed(integrator)
    options = {
        "widths": config.widths,
        "classes": loaded.classes,
        "neuron": dynamics,
        "readout": fold,
        # Spike counts need neurons like the hidden ones; membrane readouts need an integrator.
        "readout_neuron": dynamics if fold.needs_spikes else integrator,
        "input_kind": input_kind,
        "dropout": config.dropout,
        "input_dropout": config.input_dropout,
        "gain": config.gain,
        "norm": config.norm,
        "hidden": config.hidden,
        "use_bias": config.use_bias,
        "recurrent_init": config.recurrent_init,
        "precision": lookup("precision", PRECISIONS, config.precision),
        # The scales of a convolution's batch norm cannot be quantised.
        "normalise": config.weight_bits is None,
    }
    accepted = inspect.signature(model).parameters
    if "precision" not in accepted and config.precision != "f32":
        raise ValueError(f"--model {config.model} has no --precision {config.precision}, only f32")
    return model(**{name: value for name, value in options.items() if name in accepted})


def optimiser(config, loaded: data.Dataset) -> optax.GradientTransformation:
    """The optimiser of a config, with a schedule as long as the run."""
    epoch_steps = len(loaded.train) // config.batch
    return make_optimiser(
        config.learning_rate,
        config.epochs * epoch_steps,
        warmup=int(config.warmup_epochs * epoch_steps),
        schedule=config.schedule,
        weight_decay=config.weight_decay,
        clip=config.clip,
        scales=scales(config),
        levers=lever_rates(config),
    )


def scales(config) -> dict[str, float]:
    """Factor on the learning rate of each label of constants; with 0 they are not trained."""
    return {
        "time_constants": config.time_constant_scale,
        "frequencies": config.frequency_scale,
        "thresholds": config.threshold_scale,
        # Other constants that a neuron model trains by default, as the adaptation of an AdLIF.
        "neuron": config.time_constant_scale,
    }


def as_asked(dynamics: Neuron, config) -> Neuron:
    """The neuron model, training the constants whose learning rate is not 0.

    Constants without a label of their own are trained if the neuron model trains them by default.
    """
    factors, own = scales(config), dynamics.trainable
    return dataclasses.replace(
        dynamics,
        trainable=tuple(
            name
            for name in dynamics.ranges
            if factors[label_leaf(name)] and (label_leaf(name) != "neuron" or name in own)
        ),
    )


def lever_rates(config) -> dict[str, float]:
    """Factor on the learning rate of each lever; for pruning they come from trials on digits."""
    pruning = {"units": 10.0, "weights": 3.0}
    if config.prune_rate is not None:
        pruning = dict.fromkeys(pruning, config.prune_rate)
    return {
        "bits": config.bits_scale,
        "window": config.window_scale,
        "design": config.design_rate,
        **pruning,
    }


def neuron(config, dt: float) -> Neuron:
    """The neuron model of the hidden populations of a config."""
    dynamics = lookup("neuron", NEURONS, config.neuron)
    accepted = inspect.signature(dynamics).parameters
    surrogate = None
    if config.surrogate is not None:
        surrogate = lookup("surrogate", NAMED["surrogate"], config.surrogate)()
    wanted = {
        "tau_mem": config.tau_steps * dt,
        "dt": dt,
        "reset": config.reset,
        "detach_reset": config.detach_reset,
        "surrogate": surrogate,
    }
    # Resonators keep the time step of their paper, whatever the clock of the data.
    if "omega" in accepted:
        del wanted["dt"]
    options = {
        name: value for name, value in wanted.items() if name in accepted and value is not None
    }
    return as_asked(dynamics(**options), config)


def readout(config) -> Readout:
    """The readout of a config."""
    chosen = lookup("readout", READOUTS, config.readout)()
    if isinstance(chosen, PerStep) and config.task == "tet":
        # The loss uses every step, the decision is a single one.
        return dataclasses.replace(chosen, decides=False)
    return chosen

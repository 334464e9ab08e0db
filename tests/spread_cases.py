"""Steps on one and on eight devices of one process, as JSON: run by `test_devices.py`."""

import contextlib
import copy
import dataclasses
import json
import logging
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as Spec

from jsnn.data import Direct, Rate
from jsnn.hardware import get
from jsnn.models import MLP, SRNN, ConvNet
from jsnn.neurons import LIF
from jsnn.readouts import MeanMembrane
from jsnn.train.checkpoint import Checkpoints
from jsnn.train.devices import take
from jsnn.train.evaluation import evaluate, make_eval_step
from jsnn.train.losses import CrossEntropy
from jsnn.train.objective import Objective, energy_terms
from jsnn.train.optimiser import make_optimiser
from jsnn.train.state import init_state
from jsnn.train.step import make_epoch, make_train_step

BATCH, SAMPLES = 16, 40
NEURON = LIF(tau_mem=2e-3)
# A norm and dropout; recurrence, random inputs and states; convolutions and pooling.
CASES = {
    "mlp": (MLP((8,), 3, neuron=NEURON, norm=True, dropout=0.3), Direct(3), (6,)),
    "srnn": (
        SRNN((8,), 3, neuron=NEURON, readout=MeanMembrane(), random_state=True),
        Rate(3),
        (6,),
    ),
    "conv": (ConvNet((3,), 3, neuron=NEURON), Direct(3), (4, 4, 1)),
}


class Case:
    """One network on one device, or on more; every run of steps starts afresh."""

    def __init__(self, name: str):
        self.devices = take(1, BATCH)
        self.model, self.encoder, shape = CASES[name]
        draw = np.random.default_rng(0)
        frames = draw.uniform(size=(SAMPLES, *shape)).astype(np.float32)
        self.set = frames, (np.arange(SAMPLES) % 3).astype(np.int32)
        self.rows = draw.permutation(SAMPLES)[: 2 * BATCH].reshape(2, BATCH)
        self.objective = Objective(CrossEntropy(), get("neuromorphic-22nm"), energy_terms(0.5))
        self.optimiser = make_optimiser(1e-2, 100)
        self.parts = self.model, self.objective, self.optimiser, self.encoder
        shown = self.encoder(jax.random.key(0), frames[:1])
        state = init_state(self.model, self.optimiser, shown, seed=0)
        # Any unit of energy will do; numbers on the host are never donated.
        weight = {"weight": jnp.float32(0.5)}
        terms = {"energy": weight | {"reference": jnp.float32(2e3)}, "dead_neurons": weight}
        self.first = jax.device_get(dataclasses.replace(state, terms=terms))

    def on(self, count: int):
        """The same on so many devices."""
        other = copy.copy(self)
        other.devices = take(count, BATCH)
        return other

    def start(self):
        return self.devices.replicate(self.first)

    def steps(self, loop: str):
        """State after two steps, and the terms of each."""
        make = make_epoch if loop == "epoch" else make_train_step
        advance, state = self.devices.training(make(*self.parts)), self.start()
        if loop == "epoch":
            state, terms = advance(state, self.devices.replicate(self.set), self.rows)
            terms = jax.device_get(terms)
            return state, [{name: row[n] for name, row in terms.items()} for n in range(2)]
        placed, result = self.devices.replicate(self.set), []
        for row in self.rows:
            given, index = (placed, row)
            if loop == "host":
                given, index = (self.set[0][row], self.set[1][row]), None
            state, terms = advance(state, given, index)
            result.append(jax.device_get(terms))
        return state, result

    def sums(self, state):
        step = self.devices.evaluation(make_eval_step(self.model, self.objective, self.encoder))
        return evaluate(step, state.variables, self.set, BATCH, jax.random.key(1))

    def gathers(self) -> int:
        """How often a step collects on every device what was cut."""
        step, devices = make_train_step(*self.parts), self.devices
        given = self.start(), devices.replicate(self.set), devices.cut(self.rows[0])
        with jax.set_mesh(devices.mesh):
            spread = jax.jit(step, out_shardings=devices.whole, donate_argnums=0)
            text = spread.lower(*given).compile().as_text()
        assert " all-reduce(" in text
        return len(re.findall(r" (all-gather|all-to-all|collective-permute)\(", text))


@contextlib.contextmanager
def compilations(names: list[str]):
    """Note what jax compiles meanwhile."""
    handler = logging.Handler()
    handler.emit = lambda record: names.extend(
        re.findall(r"^Compiling jit\((.+?)\) with", record.getMessage())
    )
    logger = logging.getLogger("jax")
    logger.addHandler(handler)
    with jax.log_compiles():
        yield
    logger.removeHandler(handler)


def plain(tree):
    """A pytree as JSON, leaf by leaf."""
    return [np.asarray(leaf, np.float64).tolist() for leaf in jax.tree.leaves(tree)]


def moved(state, folder: str) -> list:
    """The state on 8, 1 and 2 devices, each read from what the one before wrote."""
    result = [plain(state)]
    for number, count in enumerate((1, 2)):
        devices = take(count, BATCH)
        checkpoints = Checkpoints(f"{folder}/{number}")
        checkpoints.save(1, state, {})
        like = devices.replicate(jax.tree.map(np.zeros_like, jax.device_get(state)))
        state, _ = checkpoints.restore(like)
        assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)} == {count}
        result.append(plain(state))
    return result


def moved_cut(folder: str) -> list:
    """An array that is cut over 8 devices, read by one and cut over 2."""
    values = take(8, 16).cut(np.arange(32.0).reshape(16, 2))
    checkpoints = Checkpoints(f"{folder}/cut")
    checkpoints.save(1, {"a": values}, {})
    one = checkpoints.restore({"a": take(1, 16).replicate(np.zeros((16, 2)))})[0]["a"]
    two = checkpoints.restore({"a": take(2, 16).cut(np.zeros((16, 2)))})[0]["a"]
    assert two.sharding == NamedSharding(take(2, 16).mesh, Spec("batch"))
    assert [shard.data.shape for shard in two.addressable_shards] == [(8, 2)] * 2
    return [values.tolist(), one.tolist(), two.tolist()]


def refusals() -> list[str]:
    """What is said of numbers that do not fit."""
    result = []
    for count, batch in ((9, 18), (0, 16), (8, 12), (3, 1)):
        try:
            take(count, batch)
        except ValueError as error:
            result.append(str(error))
    return result


def main(folder: str) -> None:
    """Print everything as JSON."""
    names, result = [], {"refusals": refusals()}
    for name in CASES:
        one = Case(name)
        eight = one.on(8)
        _, terms = one.steps("step")
        result[name] = {"gathers": eight.gathers(), "one": plain(terms)}
        with compilations(names):
            state, terms = eight.steps("step")
        result[name] |= {"eight": plain(terms), "compiled": names.count("step")}
        names.clear()
        if name == "srnn":
            result["loops"] = {loop: plain(eight.steps(loop)) for loop in ("epoch", "host")}
            result["loops"]["step"] = plain((state, terms))
        if name == "mlp":
            result["sums"] = [plain(one.sums(jax.device_get(state))), plain(eight.sums(state))]
            result["moved"], result["cut"] = moved(state, folder), moved_cut(folder)
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])

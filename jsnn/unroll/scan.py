"""The reference: one `lax.scan`, differentiated step by step."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jax import Array

from jsnn.neurons.protocol import Neuron, Params
from jsnn.unroll.contract import Carry, Readout, Recurrent


@dataclasses.dataclass(frozen=True)
class Scan:
    """`jax.lax.scan` over the neuron's step; jax differentiates it. Runs everything."""

    def refuses(self, neuron: Neuron, recurrent: Recurrent | None) -> None:
        """Nothing is refused."""
        return None

    def run(
        self,
        neuron: Neuron,
        readout: Readout,
        params: Params,
        recurrent: Recurrent | None,
        currents: Array,
        times: Array,
        start: Carry,
    ) -> tuple[Carry, Any]:
        """See `jsnn.unroll.Plan`."""

        def step(carry, current_and_time):
            current, t = current_and_time
            if recurrent is not None:
                current = current + recurrent(carry.spikes)
            state, spikes = neuron.step(params, carry.neuron, current)
            gathered, emission = readout.update(carry.gathered, neuron.potential(state), spikes, t)
            kept = None if carry.spikes is None else spikes
            return Carry(state, kept, gathered), emission

        return jax.lax.scan(step, start, (currents, times))

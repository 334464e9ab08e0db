"""Savings of events and savings of local memory: two gains usually reported as one."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jsnn.energy.estimate import estimate_energy
from jsnn.energy.qnn import estimate_qnn_energy
from jsnn.hardware import Hardware
from jsnn.workload import Workload


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Attribution:
    """Energies of spiking network and QNN, `[B]` pJ each, with far and with near memory.

    A gain above one is a saving, below one a loss. The gains multiply to the whole: far QNN /
    near spiking network.
    """

    far_qnn_pj: jax.Array
    near_qnn_pj: jax.Array
    far_pj: jax.Array
    near_pj: jax.Array
    far: str = dataclasses.field(metadata={"static": True})
    near: str = dataclasses.field(metadata={"static": True})

    @property
    def by_memory(self) -> jax.Array:
        """What near memory saves the QNN: it needs no spikes for that."""
        return self.far_qnn_pj / self.near_qnn_pj

    @property
    def by_events(self) -> jax.Array:
        """What spikes save beyond that, on the same near machine."""
        return self.near_qnn_pj / self.near_pj

    @property
    def in_all(self) -> jax.Array:
        """What is often reported as the gain of spikes."""
        return self.far_qnn_pj / self.near_pj

    def __str__(self) -> str:
        """The mean sample in words."""
        # Means first: gains of single samples may be infinite.
        sample = jax.tree.map(jnp.mean, self)
        memory, events, both = map(float, (sample.by_memory, sample.by_events, sample.in_all))
        verdict = "save" if events > 1 else "cost"
        factor = events if events > 1 else 1 / events
        return (
            f"QNN on {self.far} -> spikes on {self.near}: {both:.2f}x, of which local memory "
            f"gives {memory:.2f}x to the QNN as well; events {verdict} {factor:.2f}x"
        )


def attribute(workload: Workload, far: Hardware, near: Hardware) -> Attribution:
    """Split the gain of a spiking network on `near` over its QNN on `far`.

    `E_QNN(far) / E_SNN(near) = [E_QNN(far) / E_QNN(near)] · [E_QNN(near) / E_SNN(near)]`

    Args:
        workload: what the spiking network did.
        far: a machine that fetches from shared memory, such as `classical-45nm`.
        near: one whose memory lies beside the arithmetic, such as `event-45nm`.

    >>> from jsnn.hardware import get
    >>> from jsnn.workload.analytic import dense
    >>> work = Workload((dense(256, 128, steps=4, rate=0.02),))
    >>> split = attribute(work, get("classical-45nm"), get("spatial-45nm"))
    >>> bool(abs(split.by_memory * split.by_events / split.in_all - 1)[0] < 1e-5)
    True
    """
    return Attribution(
        far_qnn_pj=estimate_qnn_energy(workload, far).total_pj(),
        near_qnn_pj=estimate_qnn_energy(workload, near).total_pj(),
        far_pj=estimate_energy(workload, far).total_pj(),
        near_pj=estimate_energy(workload, near).total_pj(),
        far=far.name,
        near=near.name,
    )

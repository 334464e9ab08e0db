"""Training on many devices, of one host or of several, with the arithmetic of one device.

The state is replicated on every device, a batch is sharded by samples, and XLA inserts the
reductions: the loss, the energy, the statistics of a norm and the gradients are those of the whole
batch, and random numbers do not depend on the number of devices. The plan `pallas` of `jsnn.unroll`
is correct but not sharded: each device computes the whole batch.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

BATCH = "batch"
AUTO = "auto"


def join(coordinator: str, processes: int | None = None, process: int | None = None) -> None:
    """Join this process to several that train together; call it before any other use of jax.

    Args:
        coordinator: `address:port` of process 0, the same in every process, or `auto` where SLURM,
            a TPU pod or another scheduler that jax knows gives all three.
        processes: how many there are.
        process: which this one is, from 0.

    Raises:
        ValueError: numbers that do not fit each other, or no scheduler to ask.
    """
    if coordinator == AUTO:
        if (processes, process) != (None, None):
            raise ValueError("the scheduler numbers the processes: leave their numbers away")
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise ValueError(
                f"no SLURM, TPU pod or other scheduler was found ({error}); name the coordinator, "
                "the number of processes and this one's number"
            ) from error
        return
    address, _, port = coordinator.rpartition(":")
    if not address or not port.isdigit():
        raise ValueError(f"a coordinator is address:port, as 10.0.0.1:8476, got {coordinator!r}")
    if processes is None or process is None:
        raise ValueError(
            "beside a coordinator stand the number of processes and this one's number, got "
            f"{processes} and {process}"
        )
    if processes < 1 or not 0 <= process < processes:
        raise ValueError(f"process must lie in 0 to {processes - 1}, got {process}")
    jax.distributed.initialize(coordinator, processes, process)


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a run (from `take`).

    Attributes:
        mesh: of one axis, along which batches are sharded.
    """

    mesh: Mesh

    @property
    def count(self) -> int:
        """Number of devices of all processes."""
        return self.mesh.size

    @property
    def alone(self) -> bool:
        """Whether this process is the only one."""
        return jax.process_count() == 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return jax.process_index() == 0

    @property
    def whole(self) -> NamedSharding:
        """Sharding of what is replicated on every device."""
        return NamedSharding(self.mesh, Spec())

    def replicate(self, tree: Any) -> Any:
        """Replicate arrays, the same in every process, on every device."""
        return jax.device_put(tree) if self.count == 1 else self._put(tree, Spec())

    def cut(self, tree: Any) -> Any:
        """Shard arrays `[B, ...]`, the same in every process, by samples."""
        return jax.device_put(tree) if self.count == 1 else self._put(tree, Spec(BATCH))

    def training(self, step: Callable) -> Callable:
        """`jsnn.train.step.make_train_step` or `make_epoch`, each device with its share of a batch.

        State and data set come from `replicate`. With an index of None the set is one batch, on
        the host: it is sharded, and each device gets only its share.

        Args:
            step: `(state, (frames, labels), index) -> (state, terms)`, index `[B]` or `[n, B]`.

        Returns:
            The same function; its results are replicated on every device.
        """
        if self.count == 1:
            return step
        spread = jax.jit(step, out_shardings=self.whole, donate_argnums=0)

        def advance(state, data, index):
            if index is None:
                data = self.cut(data)
            else:
                index = self._put(index, Spec(*[None] * (np.ndim(index) - 1), BATCH))
            with jax.set_mesh(self.mesh):
                return spread(state, data, index)

        return advance

    def evaluation(self, step: Callable) -> Callable:
        """`jsnn.train.evaluation.make_eval_step`, each device with its share of a batch.

        Args:
            step: `(variables, frames, labels, weight, key) -> sums`.

        Returns:
            The same function; sums are over the whole batch, on every device.
        """
        if self.count == 1:
            return step
        spread = jax.jit(step, out_shardings=self.whole)

        def measure(variables, samples, labels, weight, key):
            batch = self.cut((samples, labels, weight))
            key = self.replicate(key)
            with jax.set_mesh(self.mesh):
                return spread(variables, *batch, key)

        return measure

    def wait(self, name: str) -> None:
        """Wait until every process has reached this call."""
        if not self.alone:
            multihost_utils.sync_global_devices(name)

    def agree(self, what: str, tree: Any) -> None:
        """Compare the bytes of arrays over the processes.

        Raises:
            ValueError: they differ between processes.
        """
        if self.alone:
            return
        total = 0
        for leaf in jax.tree.leaves(tree):
            total = zlib.crc32(np.ascontiguousarray(leaf), total)
        totals = multihost_utils.process_allgather(np.uint32(total))
        unlike = np.flatnonzero(totals != totals[0])
        if unlike.size:
            raise ValueError(
                f"{what}: other bytes in process {unlike.tolist()} than in process 0; every "
                "process must have the same files, versions and flags"
            )

    def _put(self, tree: Any, spec: Spec) -> Any:
        sharding = NamedSharding(self.mesh, spec)
        if self.alone:
            return jax.device_put(tree, sharding)
        return jax.tree.map(lambda leaf: _from_each(leaf, sharding), tree)


def take(count: int | None, batch: int) -> Devices:
    """The first `count` devices; with several processes, equally many of each.

    Args:
        count: how many; None: one, or all of them if there are several processes.
        batch: samples of a step, split evenly over the devices.

    Raises:
        ValueError: there are fewer devices, or they do not split evenly over the processes, or the
            batch does not over the devices.

    >>> take(1, 32).count
    1
    """
    there, processes = jax.devices(), jax.process_count()
    if count is None:
        count = 1 if processes == 1 else len(there)
    if not 1 <= count <= len(there):
        kind = there[0].platform
        more = ""
        if kind == "cpu":
            more = "; JAX_NUM_CPU_DEVICES=N in the environment makes N of one processor"
        raise ValueError(
            f"devices must lie in 1 to {len(there)}, the number of {kind} devices here, got "
            f"{count}{more}"
        )
    if count % processes:
        raise ValueError(
            f"{count} devices cannot be shared by {processes} processes: take a multiple of "
            f"{processes}"
        )
    if batch % count:
        raise ValueError(
            f"a batch of {batch} cannot be shared by {count} devices: take a batch that is a "
            f"multiple of {count}, as {max(round(batch / count), 1) * count}"
        )
    each = count // processes
    chosen = [device for process in range(processes) for device in _of(process)[:each]]
    return Devices(Mesh(np.array(chosen), (BATCH,), axis_types=(AxisType.Auto,)))


def _of(process: int) -> list[jax.Device]:
    return [device for device in jax.devices() if device.process_index == process]


def _from_each(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """A global array from a copy that every process holds in full."""
    if jax.dtypes.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key):
        data = _from_each(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
        return leaf
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

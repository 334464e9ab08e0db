"""Upper limits of this machine, measured in the same run: a square matrix product and a triad."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from experiments.benchmarks.measuring import seconds
from experiments.benchmarks.workloads import Workload, flops, traffic


def ceilings(side: int = 2048, words: int = 2**25, rounds: int = 9) -> dict[str, float]:
    """FLOP/s of a float32 product of two `side` x `side` matrices, byte/s of `1.1 x + y`.

    The best of several rounds, since these are upper limits.
    """
    a, b = jnp.full((side, side), 0.5), jnp.full((side, side), 0.25)
    x, y = jnp.ones(words), jnp.ones(words)
    product = jax.jit(jnp.matmul)
    triad = jax.jit(lambda x, y: 1.1 * x + y)
    best = {}
    for name, run in (("product", lambda: product(a, b)), ("triad", lambda: triad(x, y))):
        run()
        best[name] = min(seconds(run, 1) for _ in range(rounds))
    return {
        "gemm_flop_per_s": 2.0 * side**3 / best["product"],
        "triad_byte_per_s": 3.0 * x.nbytes / best["triad"],
    }


def fractions(workload: Workload, call: str, took_s: float, top: dict[str, float]) -> dict:
    """Share of the matrix ceiling, and of the roofline: the slower of work and traffic alone."""
    compute_s = flops(workload)[call] / top["gemm_flop_per_s"]
    moving_s = traffic(workload)[call] / top["triad_byte_per_s"]
    return {
        "flops": flops(workload)[call],
        "of_gemm": compute_s / took_s,
        "of_roofline": max(compute_s, moving_s) / took_s,
    }

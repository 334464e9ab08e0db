"""Plans by name."""

from __future__ import annotations

from jsnn.unroll.fused import Fused
from jsnn.unroll.scan import Scan

PLANS = {"scan": Scan, "fused": Fused}


def settle(plan, neuron, recurrent, steps):
    if plan is None:
        return Scan()
    if isinstance(plan, str):
        plan = PLANS[plan]()
    return plan

"""The power of a chip as a straight line over its event rates, and what can be read off it.

A chip paper publishes an incremental energy (what one more event costs), an average at one
operating point (all power over all events), or both. Only the line holds away from the point at
which it was measured:

    P = P_static + P_idle·f + Σ_e energy_e·rate_e
"""

from __future__ import annotations

from typing import Any

PJ_PER_J = 1e12


def affine_power_w(
    static_w: Any,
    events: tuple[tuple[Any, Any], ...],
    idle_w_per_hz: Any = 0.0,
    clock_hz: Any = 0.0,
) -> Any:
    """`P = static + idle · f + Σ energy · rate`, W.

    Args:
        static_w: power without clock and events.
        events: `(pJ of one event, events per second)` of each kind.
        idle_w_per_hz: power of the clock alone.
        clock_hz: clock.

    ODIN at 75 MHz and 37.5 million synaptic operations a second (Frenkel et al., TBioCAS 2019,
    equation 2; 477 µW measured):

    >>> round(affine_power_w(27.3e-6, ((8.43, 37.5e6),), 1.78e-12, 75e6) * 1e6, 2)
    476.93
    """
    dynamic_w = sum(energy_pj / PJ_PER_J * rate_hz for energy_pj, rate_hz in events)
    return static_w + idle_w_per_hz * clock_hz + dynamic_w


def marginal_and_static(
    first: tuple[float, float], second: tuple[float, float]
) -> tuple[float, float]:
    """The line through two operating points: `(pJ of one more event, W at none)`.

    Args:
        first, second: `(events per second, W)`.

    Raises:
        ValueError: the two rates are the same.

    TrueNorth at 0.8 V with 128 synapses on each of 1,048,576 neurons (Akopyan et al., TCAD 2015,
    figure 17):

    >>> points = ((1048576 * 128 * hz, watt) for hz, watt in ((11.58, 68e-3), (95.93, 94e-3)))
    >>> pj, watt = marginal_and_static(*points)
    >>> round(pj, 3), round(watt * 1e3, 2)
    (2.297, 64.43)
    """
    (slow_hz, slow_w), (fast_hz, fast_w) = first, second
    if slow_hz == fast_hz:
        raise ValueError(f"expected two different event rates, found {slow_hz} twice")
    joule = (fast_w - slow_w) / (fast_hz - slow_hz)
    return joule * PJ_PER_J, slow_w - joule * slow_hz


def average_pj(power_w: Any, rate_hz: Any) -> Any:
    """All power over all events, pJ: holds at this operating point only.

    >>> round(average_pj(476.93e-6, 37.5e6), 2)
    12.72
    """
    return power_w / rate_hz * PJ_PER_J


def energy_delay(energy: Any, delay: Any) -> Any:
    """Energy-delay product; of two ratios, the ratio of the products.

    >>> round(energy_delay(8.08, 2.76), 1)
    22.3
    """
    return energy * delay

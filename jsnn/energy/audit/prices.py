"""Prices of single actions, written a second time from the documentation of the models."""

from __future__ import annotations

import math

import numpy as np

from jsnn.hardware import Hardware


def access_pj(hardware: Hardware, level: str, size_bits: float, bits: float, verb: str) -> float:
    """One access, by the equations in the documentation of `jsnn.hardware.memory`."""
    e = {key: float(c.value) for key, c in hardware.technology.constants.items()}
    if level in ("dram", "register", "sram"):
        return e[f"{level}_pj_per_bit"] * bits
    name = hardware.architecture.memory.name
    kib = size_bits / 8192
    if name == "lemaire-regression":
        return e["ram_base_pj"] + size_bits * e["ram_slope_pj_per_bit"]
    if name == "lemaire-interpolation":
        published = [0.0, e["sram_8kib_pj"], e["sram_32kib_pj"], e["sram_1mib_pj"]]
        # Beyond its last point np.interp is flat.
        return float(np.interp(kib, [0, 8, 32, 1024], published))
    if name == "packed-8kb":
        return e["sram_8kib_pj"] * (1 / (64 // bits) if bits <= 64 else -(-bits // 64))
    if name == "horowitz-power-law":
        decades = math.log10(max(size_bits, 1.0)) - math.log10(65536)
        return e["sram_8kib_pj"] * 10 ** (e["sram_exponent"] * decades) * bits / 64
    if name == "dosa":
        kind = "accumulator" if level == "local" else "scratchpad"
        return e[f"{kind}_base_pj"] + e[f"{kind}_slope_pj_per_kib"] * kib
    if name == "by-level":
        return e[f"{level}_pj_per_bit"] * bits
    if name == "accelergy" and level in ("global", "queue"):
        return e[f"buffer_{verb}_pj"] / 64 * bits
    if name == "accelergy":
        small, large = e[f"ifmap_{verb}_pj"], e[f"weight_file_{verb}_pj"]
        words = size_bits / 16
        return ((192 - words) * small + (words - 12) * large) / (192 - 12) / 16 * bits
    raise ValueError(f"{hardware.name}: the auditor knows no memory model {name!r}")


def add_pj(hardware: Hardware, bits: float) -> float:
    """One addition, by the equations in the documentation of `jsnn.hardware.arithmetic`."""
    name = hardware.architecture.arithmetic.name
    e = {key: float(c.value) for key, c in hardware.technology.constants.items()}
    if name == "bit-product":
        return e["accumulate_pj"]
    if name == "recommended":
        return bits / 32 * e["add_int32_pj"]
    return _by_width(hardware, e["add_int8_pj"], e.get("add_int32_pj", 0.0), bits)


def multiply_pj(hardware: Hardware, left: float, right: float) -> float:
    """One product, by the equations in the documentation of `jsnn.hardware.arithmetic`."""
    name = hardware.architecture.arithmetic.name
    e = {key: float(c.value) for key, c in hardware.technology.constants.items()}
    if name == "bit-product":
        return left * right * e["mac_pj_per_bit2"]
    if name == "recommended":
        return left * right / 64 * e["mul_int8_pj"]
    if name == "product":
        share = (left * right - 64) / 960
        return (1 - share) * e["mul_int8_pj"] + share * e["mul_int32_pj"]
    return _by_width(hardware, e["mul_int8_pj"], e.get("mul_int32_pj", 0.0), max(left, right))


def _by_width(hardware: Hardware, at_8: float, at_32: float, bits: float) -> float:
    """One operation of which the 8-bit and the 32-bit unit are known."""
    name = hardware.architecture.arithmetic.name
    if name == "int8":
        return at_8
    if name == "saturation" and bits <= 32:
        return at_8 if bits <= 8 else at_32
    if name in ("linear", "product"):
        return (at_8 * (32 - bits) + at_32 * (bits - 8)) / 24
    if name == "quadratic":
        # Lagrange's polynomial; the term of (0, 0) is zero.
        return at_8 * bits * (32 - bits) / 192 + at_32 * bits * (bits - 8) / 768
    raise ValueError(f"{hardware.name}: the auditor has no {name!r} arithmetic of {bits} bits")

"""RAM energy by size after Lemaire et al."""

from __future__ import annotations

from jsnn.hardware.constant import Constant

_LEMAIRE = (
    "Lemaire et al., ICONIP 2022 (arXiv 2210.13107); "
    "regression in Qualia EnergyEstimationMetric.py@15165fe8b9a5"
)

LEMAIRE_RAM = {
    "ram_slope_pj_per_bit": Constant(
        1.09e-5, "pJ/bit of memory", _LEMAIRE, "EXACT", "an access of any width; read = write"
    ),
    "ram_base_pj": Constant(13.2, "pJ", _LEMAIRE, "EXACT", "an access of any width"),
}

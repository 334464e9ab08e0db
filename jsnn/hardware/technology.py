"""A named set of cited constants."""

from __future__ import annotations

import dataclasses
from typing import Any

from jsnn._pytree import pytree
from jsnn.hardware.constant import Constant


@pytree
@dataclasses.dataclass(frozen=True)
class Technology:
    """Constants by name; `technology["accumulate_pj"]` is the value of one.

    A pytree whose leaves are the values, so that a gradient with respect to a constant works.
    Constants are not meant to be trained.

    Attributes:
        constants: `Constant` by name, the unit at the end of the name.

    Raises:
        ValueError: a constant was asked for that the technology does not hold.

    >>> add = Constant(0.9, "pJ", "Horowitz, ISSCC 2014", "SECONDARY")
    >>> technology = Technology({"add_fp32_pj": add})
    >>> technology["add_fp32_pj"], "mul_fp32_pj" in technology, technology.provenances
    (0.9, False, ('SECONDARY',))
    """

    constants: dict[str, Constant]

    def __getitem__(self, name: str) -> Any:
        if name not in self.constants:
            raise ValueError(f"the technology has no {name!r}, only {sorted(self.constants)}")
        return self.constants[name].value

    def __contains__(self, name: str) -> bool:
        return name in self.constants

    @property
    def provenances(self) -> tuple[str, ...]:
        """Provenances that occur among the constants, sorted."""
        return tuple(sorted({constant.provenance for constant in self.constants.values()}))

    def with_values(self, **values: Any) -> Technology:
        """A copy with other values of constants it holds; sources and provenances stay.

        >>> a = Technology({"add_pj": Constant(0.9, "pJ", "Horowitz, ISSCC 2014", "SECONDARY")})
        >>> a.with_values(add_pj=1.8)["add_pj"]
        1.8
        """
        changed = {}
        for name, value in values.items():
            self[name]
            try:
                changed[name] = dataclasses.replace(self.constants[name], value=value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return Technology({**self.constants, **changed})

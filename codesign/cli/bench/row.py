"""One measured figure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """``name`` is GROUP.SUBJECT.FIGURE; ``unit`` is 1 for ratios and counts."""

    name: str
    value: float
    unit: str

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

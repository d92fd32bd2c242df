"""An edit: what is done to a soft prompt before a question is answered again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from dpc.errors import DpcError

BASE = "base"
"""edit_id of prompt tuning's own generation."""
UNPROMPTED = "unprompted"
"""edit_id of the generation without a soft prompt."""
ACT = "act"
"""edit_id of the generation with attention calibration."""
LIKELIHOOD, LIKELIHOOD_UNPROMPTED = "likelihood", "likelihood_unprompted"
"""edit_ids of the likeliest of labelled options, with the soft prompt and without one."""
READY = (UNPROMPTED, ACT, LIKELIHOOD, LIKELIHOOD_UNPROMPTED)
"""edit_ids of answers that other stages than `regenerate` make, beside prompt tuning's own."""
NEAREST = "nearest_token"
"""Mask that makes every vector its nearest token's embedding."""
MASKS = ("scale", "vocabulary_mean", "attention", NEAREST)


@dataclass(frozen=True)
class Edit:
    """One corruption of a soft prompt (docs/methods.md, step 5; choices D16, D17).

    Equal content means an equal `edit_id`, so that plans that coincide are generated once.
    """

    masked: tuple[int, ...] = ()
    """Vectors that are masked."""
    mask: str = "scale"
    """`scale`: multiply by `mask_value`; `vocabulary_mean`: replace; `attention`: hide the position;
    `nearest_token`: replace every vector, whatever `masked` says."""
    mask_value: float = 0.0
    """Factor of `scale`."""
    gamma: float = 0.0
    """Percent of entries, smallest in absolute value, that are reduced."""
    gamma_scale: float = 0.0
    """What those entries are multiplied by."""
    gamma_scope: str = "others"
    """Which entries compete: `others`, `all`, `located`, `per_vector`."""
    gamma_seed: int = -1
    """-1 for the smallest entries; else the seed that draws as many at random."""

    def __post_init__(self) -> None:
        if self.mask not in MASKS:
            raise DpcError(f"edit has mask {str(self.mask)[:40]!r}; expected {', '.join(MASKS)}")
        # equal numbers, whoever made them, must be written the same: 10 is 10.0, -0.0 is 0.0, numpy's are Python's
        object.__setattr__(self, "masked", tuple(int(j) for j in self.masked))
        object.__setattr__(self, "gamma_seed", int(self.gamma_seed))
        for name in ("mask_value", "gamma", "gamma_scale"):
            object.__setattr__(self, name, float(getattr(self, name)) + 0.0)

    @property
    def edit_id(self) -> str:
        """Return a hash of the content."""
        content = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def columns(self) -> dict[str, Any]:
        """Return the edit as columns of the `plans` table."""
        return {"edit_id": self.edit_id, **asdict(self), "masked": list(self.masked)}

    @staticmethod
    def from_row(row: Any) -> Edit:
        """Read the edit back from a row of the `plans` table: a tuple, or a Series, whose `mask` is a method."""
        read = partial(getattr, row) if isinstance(row, tuple) else row.__getitem__
        return Edit(**{field.name: read(field.name) for field in fields(Edit)})

"""Numbers that are not finite end in one line, before they reach a table."""

from __future__ import annotations

import torch
from torch import Tensor

from dpc.errors import DpcError

FLOAT32 = "use models.NAME.dtype: float32"


def check_finite(values: Tensor, what: str, mend: str = FLOAT32) -> None:
    """Raise DpcError where one of `values` (any shape, not empty) is NaN or infinite: `what` it is, how to `mend` it.

    The smallest and the largest value tell: one pass, which a CPU does at 10 GB a second.
    """
    ends = torch.stack(torch.aminmax(values.detach()))
    wrong = ends[~ends.isfinite()].tolist()
    if wrong:
        raise DpcError(f"{what} is {wrong[0]}; expected a finite number: {mend}")

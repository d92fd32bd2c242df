"""What is special about each model family, one file each, of the name that its `config.json` has as `model_type`.

A record says what the code must know and a model's files do not say for themselves. BOS comes from the tokenizer, a
sliding window and a cap on the scores from the config. A family is supported once `tests/lm/test_saliency.py` proves
its saliency against eager attention (docs/extending.md). Which keys its config must have and which tensors its weights
is in `dpc/storage/model_files.py` and `weight_files.py`, where a family has more than Llama.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dpc.config.declared import declared


@dataclass(frozen=True, kw_only=True)
class Family:
    """Declare a model family: `FAMILY = Family(kernels=...)` in a file of its `model_type`."""

    kernels: tuple[Literal["sdpa", "eager"], ...]
    """Attention kernels outside saliency that compute what the family does; the first one is `auto`."""
    embedding_scale: str | None = None
    """Attribute of the input embedding that its weights are multiplied by on their way into the decoder."""
    logit_cap: str | None = None
    """Attribute of the config: logits are cap * tanh(logits / cap), unless it is null."""


FAMILIES: dict[str, Family] = {name: Family(**each.values) for name, each in declared("lm/families", "Family").items()}
"""By `model_type`, read without importing them."""

"""What a model's files say of it, read without torch: family, kernel, layers, parameters."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from dpc.config.declared import declared
from dpc.errors import DpcError

FAMILIES: dict[str, tuple[str, ...]] = {
    name: each.values["kernels"] for name, each in declared("lm/families", "Family").items()
}
"""By `model_type`, the attention kernels of the families that saliency is proved for (`dpc/lm/families`)."""
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}
CARD_SHARE, ACTIVATIONS, CACHE_GB = 0.9, 1.25, 3.0


def read_config(file: Path) -> dict[str, Any]:
    """Return transformers' model config. Raises DpcError where the file is none."""
    try:
        found = json.loads(file.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DpcError(f"{file}: found no JSON map; expected transformers' model config: fetch or copy the file again")
    return found


def kernel(place: object, config: dict[str, Any], attention: str) -> str:
    """Return the attention kernel outside saliency for `attention`: auto, sdpa or eager.

    Raises DpcError, which begins with `place`, for a family that is not supported, at all or with that kernel.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise DpcError(f"{place}: model_type {family!r} is not supported; expected one of {', '.join(FAMILIES)}")
    kernels = FAMILIES[family]
    if attention not in ("auto", *kernels):
        raise DpcError(
            f"{place}: {attention} cannot compute what {family} does; write models.NAME.attention: {kernels[0]}"
        )
    return kernels[0] if attention == "auto" else attention


@cache
def counted(folder: Path) -> float:
    """Return billions of parameters of the safetensors files in `folder`, from their headers alone.

    Raises DpcError where there is none, or one is not whole.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise DpcError(f"{folder}: found no safetensors file; expected the model's weights in this format")
    return sum(math.prod(entry["shape"]) for file in files for entry in _header(file)) / 1e9


def _header(file: Path) -> list[dict[str, list[int]]]:
    """Return the entries of a safetensors header: eight bytes of length, then JSON; then the weights."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(length) if 8 + length <= size else b""
    try:
        entries = [entry for name, entry in json.loads(text).items() if name != "__metadata__"]
        ends = [entry["data_offsets"][1] for entry in entries]
    except (ValueError, AttributeError, LookupError, TypeError):
        raise _not_whole(file, size, "no safetensors header") from None
    if 8 + length + max(ends, default=0) > size:
        raise _not_whole(file, size, "fewer weights than its header names")
    return entries


def _not_whole(file: Path, size: int, found: str) -> DpcError:
    mend = "copy or fetch it again (`git lfs pull`, if it came by git)"
    return DpcError(f"{file}: found {found} in {size:,} bytes; expected a whole file of weights: {mend}")


def cards(weights: float, card: float) -> int:
    """Return the cards of `card` GB that hold `weights` GB and what is computed with them."""
    return math.ceil((weights * ACTIVATIONS + CACHE_GB) / (card * CARD_SHARE))

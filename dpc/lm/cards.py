"""Spread a model that one card cannot hold over several: whole decoder layers, in order, as `accelerate` balances them.

Activations move from card to card where the layers do; keys, values and saliency stay where their layer lies.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from dpc.errors import DpcError
from dpc.storage.model_files import Unread, architecture, read_config
from dpc.storage.weight_files import BYTES, CARD_SHARE, cards, counted, expected


def placement(folder: Path, dtype: str, device: torch.device) -> dict[str, Any]:
    """Return what `from_pretrained` needs to place the model in `folder`: all on one device, or balanced over cards.

    As many of the visible cards are used as `cards` counts, which is what the job asked for. Raises DpcError
    where all visible cards together cannot hold the weights: nothing is left on the host silently.
    """
    if device.type != "cuda":
        return {}
    card, visible = torch.cuda.get_device_properties(0).total_memory, torch.cuda.device_count()
    weights = weight_bytes(folder, dtype)
    if weights > visible * card * CARD_SHARE:
        raise DpcError(
            f"{folder}: found {visible} card(s) of {card / 1e9:.0f} GB, expected room for {weights / 1e9:.0f} GB of "
            "weights and a tenth more; correct cluster.gpu_memory_gb, or raise cluster.gpus"
        )
    return spread(min(visible, cards(weights / 1e9, card / 1e9)), int(card * CARD_SHARE))


def spread(count: int, room: int) -> dict[str, Any]:
    """Return the arguments that balance a model over `count` cards, with `room` bytes on each; none for one card."""
    if count == 1:
        return {}
    return {"device_map": "balanced", "max_memory": dict.fromkeys(range(count), room)}


def check_spread(folder: Path, model: Any) -> None:
    """Raise DpcError where a part of a spread model was left on the host or on disk, which would be slow silently."""
    left = [name for name, place in model.hf_device_map.items() if place in ("cpu", "disk")]
    if left:
        raise DpcError(
            f"{folder}: found no room on the cards for {left[0]}, expected all of the model there; "
            "write cluster.gpus: one more than now"
        )


def weight_bytes(folder: Path, dtype: str) -> int:
    """Return what the weights of the model in `folder` take as `dtype`: by its config, or by their headers."""
    file = folder / "config.json"
    shape = architecture(file, read_config(file))
    if isinstance(shape, Unread):
        return round(counted(folder) * 1e9) * BYTES[dtype]
    return sum(math.prod(size) for size in expected(shape).values()) * BYTES[dtype]

"""A model's folder before anything is loaded: is it whole, and do config, weights and tokenizer match?

The check on the login node and every job that loads the folder ask this, so that both say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpc.config.kinds import Bos
from dpc.errors import DpcError
from dpc.storage import tokenizer_files, weight_files
from dpc.storage.hub import origin
from dpc.storage.json_files import readable
from dpc.storage.model_files import Architecture, architecture, end_ids, read_config


@dataclass(frozen=True)
class Folder:
    """What a sound folder says of its model."""

    shape: Architecture
    end_ids: list[int]
    """Empty where only the tokenizer names an end."""


@readable()
def sound(folder: Path, bos: Bos = "auto") -> Folder:
    """Return what the folder says. Raises DpcError where a model would not load from it, or another than its own."""
    file = folder / "config.json"
    shape = architecture(file, read_config(file))
    if (folder / "adapter_config.json").is_file():
        raise DpcError(
            f"{folder}: found adapter_config.json, an adapter that transformers would load over the weights; expected "
            "a model alone: move the adapter into a folder of its own, and write that as recipes.NAME.adapter"
        )
    weight_files.check(folder, shape)
    weight_files.check_small(folder)
    ends = end_ids(folder, shape)
    tokenizer_files.check(folder, shape.vocab_size, ends, bos)
    origin(folder)  # goes into footers
    return Folder(shape, ends)

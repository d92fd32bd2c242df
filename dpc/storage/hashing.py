"""An order that depends on an id alone, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

DIGITS = 12
"""Of the hashes that footers name: enough to tell the models, data and prompts of a life's work apart."""
_SAMPLES, _BYTES = 16, 1 << 16
"""Places in a large file of weights that are read, and how much at each."""


def content_hash(parts: Iterable[bytes]) -> str:
    """Return a short hash of these bytes, in order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:DIGITS]


@lru_cache
def model_hash(folder: Path) -> str:
    """Return a short hash of a model's folder: its JSON files, and the size and spread samples of each weight file.

    Training moves all weights, so that samples tell models apart; whole weights would take a minute a job to read.
    """
    small, weights = (sorted(folder.glob(pattern)) for pattern in ("*.json", "*.safetensors"))
    own = [file for file in small if file.name != "origin.json"]
    parts = [part for file in own for part in (file.name.encode(), file.read_bytes())]
    return content_hash([*parts, *(part for file in weights for part in _samples(file))])


def _samples(file: Path) -> Iterable[bytes]:
    size = file.stat().st_size
    yield f"{file.name} {size}".encode()
    with file.open("rb") as opened:
        for number in range(_SAMPLES):
            opened.seek(number * max(0, size - _BYTES) // (_SAMPLES - 1))
            yield opened.read(_BYTES)


def hash_order(key: str, salt: str = "") -> str:
    """Return a sort key that shuffles ids in a fixed way, the same on every machine."""
    return hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()

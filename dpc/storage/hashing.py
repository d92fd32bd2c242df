"""An order that depends on an id alone, the same on every machine."""

from __future__ import annotations

import hashlib


def hash_order(key: str, salt: str = "") -> str:
    """Return a sort key that shuffles ids in a fixed way, the same on every machine."""
    return hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()

"""JSON that other programs wrote, such as a model's config: read, typed, and refused in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dpc.config.messages import one_line
from dpc.errors import DpcError


class Foreign(BaseModel):
    """A group of keys of somebody else's file: those that count here have types, all others are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


@contextmanager
def readable() -> Iterator[None]:
    """Turn what the file system refuses, a folder that may not be entered for instance, into a DpcError."""
    try:
        yield
    except OSError as error:
        raise DpcError(
            f"{error.filename}: cannot be read ({error.strerror}); correct its path or permissions"
        ) from None


Kind = TypeVar("Kind", bound=Foreign)


def read_map(file: Path, what: str) -> dict[str, Any]:
    """Return the JSON map in `file`, which should be `what`. Raises DpcError where it is none or cannot be read."""
    with readable():
        content = file.read_bytes()
    try:
        found = json.loads(content.decode())
    except (ValueError, RecursionError):  # no UTF-8 is a ValueError too
        found = None
    if not isinstance(found, dict):
        raise DpcError(f"{file}: found no JSON map; expected {what}: fetch or copy the file again")
    return found


def typed(kind: type[Kind], raw: dict[str, Any], place: object, mend: str) -> Kind:
    """Return the keys of `raw` that count.

    Raises DpcError, from `place` to `mend`, for one that is missing or wrong.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise DpcError(f"{place}: {one_line(error, kind, raw)}; {mend}") from None

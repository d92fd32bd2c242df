"""Atomic files: complete or absent."""

from __future__ import annotations

import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = re.compile(r"^\..+\.(?P<pid>\d+)@(?P<host>[^@]+)$")
_SURELY_OVER_SECONDS = 600.0
"""A file that a process on another host has not written to for so long is nobody's."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name only if the block succeeds.

    What a killed process left of its own try is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    writer = f".{os.getpid()}@{platform.node()}"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=writer)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove temporary files of `atomic` in `folder`, or those for file `name` there, whose writer is dead."""
    for file in Path(folder).glob(f".{name}.*" if name else ".*"):
        with suppress(FileNotFoundError):  # its writer was alive and has just finished
            if _is_left_over(file):
                file.unlink()


def _is_left_over(file: Path) -> bool:
    writer = _TEMPORARY.match(file.name)
    if writer is None:
        return False
    if writer["host"] != platform.node():
        return time.time() - file.stat().st_mtime > _SURELY_OVER_SECONDS
    # this process writes one file at a time: what bears its number is of an earlier process
    return int(writer["pid"]) == os.getpid() or not _is_running(int(writer["pid"]))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

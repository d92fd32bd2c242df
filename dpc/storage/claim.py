"""One writer at a time: a writer holds a locked file with its name.

The lock is the kernel's (`flock`), so it ends with its process, however that ends; a file left behind by a killed
process is simply taken over. Network file systems pass such locks between nodes.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import platform
from pathlib import Path
from typing import Any

from dpc.errors import DpcError

log = logging.getLogger("dpc")
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class Claim:
    """A claim on `file`, held until `release`; others can read `facts` in it."""

    def __init__(self, file: Path, what: str, **facts: Any):
        """Take the claim. Raises DpcError that names the holder where there is one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        while True:
            self.handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
            self._lock(what)
            if self._is_still_there():
                break
            os.close(self.handle)  # its holder removed the file between our opening and locking it
        who = {"host": platform.node(), "pid": os.getpid(), "job": os.environ.get("SLURM_JOB_ID"), **facts}
        os.ftruncate(self.handle, 0)
        os.write(self.handle, json.dumps(who).encode())

    def _lock(self, what: str) -> None:
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = read(self.file)
            os.close(self.handle)
            raise DpcError(f"{what} is being written by {described(holder)}; wait for it, or cancel it") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.warning("%s: this file system has no locks; nothing keeps two jobs from writing %s", self.file, what)

    def _is_still_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.handle), self.file.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the claim back."""
        self.file.unlink(missing_ok=True)
        os.close(self.handle)


def is_held(file: Path) -> bool:
    """Say whether a living process holds the claim on `file`. Raises DpcError where the file system has no locks."""
    try:
        handle = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise DpcError(
            f"{file}: this file system has no locks, so nobody can say whether {described(read(file))} still works; "
            "see that it has ended, then run its command again, first with --unlock, then with --rerun-incomplete"
        ) from None
    finally:
        os.close(handle)
    return False


def read(file: Path) -> dict[str, Any]:
    """Return the facts in a claim; nothing where it is just being written."""
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError):
        return {}


def described(facts: dict[str, Any]) -> str:
    """Say in a few words who holds a claim."""
    job = f"Slurm job {facts['job']}, " if facts.get("job") else ""
    return f"{job}process {facts.get('pid', 'unknown')} on {facts.get('host', 'an unknown host')}"

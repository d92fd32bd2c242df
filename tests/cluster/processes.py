"""Every process of a private cluster, found by its environment; `python processes.py FILE` guards one.

The guard ends with its standard input, that is with the tests, however they end, and takes along whatever then still
names the cluster's configuration file: daemons, job steps, and what runs in them.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from pathlib import Path


def members(file: Path) -> set[int]:
    """Return every process whose environment names the configuration `file`."""
    wanted = f"SLURM_CONF={file}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


def children(pids: set[int]) -> set[int]:
    """Return the processes started by any of `pids`."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            after_name = (folder / "stat").read_text().rpartition(")")[2]
            if int(after_name.split()[1]) in pids:
                found.add(int(folder.name))
    return found


def of_node(file: Path, node: str) -> set[int]:
    """Return the job steps of one node and all that they started."""
    found = {pid for pid in members(file) if _node(pid) == node}
    while new := children(found) - found:
        found |= new
    return found


def _node(pid: int) -> str:
    """Return the node a process says it runs on; a step's keeper holds its node's log or spool open."""
    folder = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        if b"slurmstepd" in (folder / "cmdline").read_bytes():
            links = [str(link.readlink()) for link in (folder / "fd").iterdir()]
            found = (re.search(r"/(?:spool\.|log/)(\w+)", link) for link in links)
            return next((match[1] for match in found if match), "")
        said = re.search(rb"(?:^|\0)SLURMD_NODENAME=(\w+)", (folder / "environ").read_bytes())
        return said[1].decode() if said else ""
    return ""


def send(pids: set[int], sign: signal.Signals) -> None:
    """Send a signal to those that still live."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)


def end(file: Path) -> None:
    """Kill every process of the cluster."""
    while left := members(file):
        send(left, signal.SIGKILL)
        time.sleep(0.1)


if __name__ == "__main__":
    sys.stdin.read()
    end(Path(sys.argv[1]))

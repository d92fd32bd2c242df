"""What the attempts of each job took: one line of JSON an attempt, beside the job's log.

Snakemake deletes a log before it tries a job again. This file it does not know, so it also counts attempts that were
stopped. An attempt that a signal ended at once leaves no line: SIGKILL, or SIGTERM while the stage saves nothing.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dpc.storage.provenance import peak_gb

SUFFIX = ".attempts.jsonl"


@dataclass(frozen=True)
class Attempt:
    """What one process of a job took."""

    stage: str
    host: str
    device: str
    began: str
    """UTC, as in a table's footer."""
    seconds: float
    """Wall-clock time."""
    cpu_seconds: float
    """Of all threads of the process."""
    peak_gb: float
    """Largest memory, of the card where the process used one."""
    finished: bool
    """Whether the stage came to its end; else it was stopped, or failed."""


@contextmanager
def recorded(log: Path, stage: str, device: str) -> Iterator[None]:
    """Add a line about what happens inside the block beside `log`."""
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    clock, cpu, finished = time.monotonic(), time.process_time(), False
    try:
        yield
        finished = True
    finally:
        took = (time.monotonic() - clock, time.process_time() - cpu)
        attempt = Attempt(stage, platform.node(), device, began, *took, peak_gb(), finished)
        file = log.with_suffix(SUFFIX)
        is_torn = file.is_file() and file.read_bytes()[-1:] not in (b"", b"\n")  # its last line was cut short
        with file.open("a") as lines:
            lines.write("\n" * is_torn + json.dumps(asdict(attempt)) + "\n")


def _whole(file: Path) -> list[Attempt]:
    """Return the attempts in a file, without lines that were cut short."""
    found = []
    for line in file.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            found.append(Attempt(**json.loads(line)))
    return found


def read(logs: Path) -> dict[str, dict[str, list[Attempt]]]:
    """Return the attempts of every job below the folder of a study's logs, by rule and by the name of the job's log."""
    found: dict[str, dict[str, list[Attempt]]] = {}
    for file in sorted(logs.rglob(f"*{SUFFIX}")):
        rule = file.name.removesuffix(SUFFIX) if file.parent == logs else file.relative_to(logs).parts[0]
        if each := _whole(file):
            found.setdefault(rule, {})[file.name.removesuffix(SUFFIX)] = each
    return found

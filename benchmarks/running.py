"""Runs in fresh processes: one process, one method, one line of JSON."""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.suite import Work
from dpc.errors import DpcError

OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory", "MemoryError", "bad_alloc")
TIMEOUT_SECONDS = 1800
PACKAGES = ("torch", "transformers", "peft")
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.1}
"""Absolute for losses, relative for checksums; 24 layers of random weights make a good deal of bfloat16's rounding."""
LATER = 10
"""Times more for losses behind the first: Adam's first step has one size however small a gradient is, so where it is
near zero, rounding decides its sign."""
FIELDS = ("seconds", "cpu_seconds", "peak_mb", "tokens", "text", "checksum", "losses")
"""What has a column of its own; the rest of a script's line goes into `more`."""


def order(methods: Sequence[str], round_: int) -> list[str]:
    """Return who runs after whom: every other round backwards, and each turn begins with another method."""
    start = (round_ // 2) % len(methods)
    turned = [*methods[start:], *methods[:start]]
    return turned[::-1] if round_ % 2 else turned


def command(work: Work, method: str, threads: int) -> list[str]:
    """Return the command line of a run."""
    options = {**work.options, "threads": threads}
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-W", "ignore", "-m", f"benchmarks.{work.script}", "--method", method, *flags]


def outcome(code: int, errors: str) -> str:
    """Return `ok`, `memory` or `failed`. The kernel kills what takes too much memory."""
    if code == 0:
        return "ok"
    is_memory = code == -signal.SIGKILL or any(text in errors for text in OUT_OF_MEMORY)
    return "memory" if is_memory else "failed"


def last_json(output: str) -> dict[str, Any]:
    """Return the last line that is a JSON object; a library may print lines of its own."""
    for line in reversed(output.splitlines()):
        try:
            found = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(found, dict):
            return found
    raise DpcError(f"benchmarks: found no line of JSON in {output[-200:]!r}; expected one as a script's last line")


def process(line: Sequence[str], threads: int, memory_gb: float) -> subprocess.CompletedProcess[str]:
    """Run a command line in the repository with so many threads and so much address space."""
    limit = int(memory_gb * 2**30)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return subprocess.run(
        line,
        env=os.environ | dict.fromkeys(names, str(threads)) | {"TOKENIZERS_PARALLELISM": "false"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )


def run(work: Work, method: str, threads: int, memory_gb: float) -> dict[str, Any]:
    """Return a run's outcome and figures. Raises DpcError where it fails for want of anything but memory."""
    line, load, started = command(work, method, threads), os.getloadavg()[0], time.perf_counter()
    done = process(line, threads, memory_gb)
    ended = outcome(done.returncode, done.stderr)
    if ended == "failed":
        said = "\n".join(done.stderr.splitlines()[-5:])
        raise DpcError(f"benchmarks: {' '.join(line[3:])} ended with {done.returncode}; expected 0\n{said}")
    measured = last_json(done.stdout) if ended == "ok" else {}
    more = {name: value for name, value in measured.items() if name not in (*FIELDS, "method")}
    figures = {name: measured.get(name) for name in FIELDS} | {"more": json.dumps(more)}
    return {"outcome": ended, "load": load, "wall_seconds": time.perf_counter() - started, **figures}


def difference(rows: Sequence[dict[str, Any]]) -> str | None:
    """Say where the methods of one round did not do the same work, or return None."""
    for name in ("text", "tokens", "losses", "checksum"):
        given = [row for row in rows if row[name] is not None]
        for row in given[1:]:
            tolerance = TOLERANCES[json.loads(row["options"]).get("dtype", "float32")]
            if not _is_same(name, given[0][name], row[name], tolerance):
                first = f"{name} {_short(given[0][name])} from {given[0]['method']}"
                return f"{row['script']} {row['options']}: found {first}, {_short(row[name])} from {row['method']}"
    return None


def _is_same(name: str, one: Any, other: Any, tolerance: float) -> bool:
    if name in ("text", "tokens"):
        return bool(one == other)
    if name == "checksum":
        return abs(one - other) <= tolerance * max(abs(one), abs(other))
    apart = [abs(a - b) for a, b in zip(one, other, strict=True)] if len(one) == len(other) else [math.inf]
    return apart[0] <= tolerance and max(apart) <= LATER * tolerance


def _short(value: Any) -> str:
    return f"{str(value)[:60]}"


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def machine(threads: int, memory_gb: float) -> dict[str, Any]:
    """Return the columns that say on what it was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {"cpu": _cpu(), "cores": os.cpu_count(), "memory_gb": round(memory, 1), "threads": threads}
    found |= {"limit_gb": memory_gb, "system": f"{platform.system()} {platform.machine()}"}
    return found | {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}

"""`python -m tests.support.killing FOLDER`: run stages in processes that kill themselves at a wanted event.

An event is a finished batch or step, a file that is half written, whole but unnamed, named, or about to be deleted.
Torch is loaded once; every request, a line of JSON, is answered by the exit status of a forked process that runs the
stage's command line. Clocks stand still there, so that tables can be compared byte by byte.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpc.lm import decoding
from dpc.pipeline.cluster import warm
from dpc.storage import provenance


class Trace:
    """Writes events down, where a killed process does not lose them, and kills at number `kill_at`."""

    def __init__(self, file: str, kill_at: int | None):
        self.file, self.kill_at, self.count = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), kill_at, 0

    def event(self, name: str, last_words: Callable[[], object] = lambda: None) -> None:
        os.write(self.file, f"{name}\n".encode())
        if self.count == self.kill_at:
            last_words()
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


def watch(trace: Trace, under: str) -> None:
    """Report the events of this process that concern files under folder `under`."""
    from dpc.pipeline.progress import Progress

    replace, unlink, add = os.replace, os.unlink, Progress.add

    def watched_add(self: Progress, count: int, **figures: float) -> None:
        trace.event("batch")
        add(self, count, **figures)

    def watched_replace(source: Any, target: Any, **more: Any) -> None:
        if not str(target).startswith(under):
            return replace(source, target, **more)
        trace.event("half", lambda: os.truncate(source, Path(source).stat().st_size // 2))
        trace.event("whole")
        replace(source, target, **more)
        trace.event("named")

    def watched_unlink(path: Any, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None or (str(path).startswith(under) and os.path.lexists(path)):
            trace.event("deleting")
        unlink(path, dir_fd=dir_fd)

    os.replace, os.unlink = watched_replace, watched_unlink
    Progress.add = watched_add  # type: ignore[method-assign]


def run(request: dict[str, Any]) -> int:
    """Be the stage; each batch is full from the start, as stages this small would be two batches otherwise."""
    errors = os.open(request["trace"] + ".err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    epoch = time.gmtime(0)
    time.perf_counter, time.gmtime = lambda: 0.0, lambda *_: epoch
    provenance.peak_gb = lambda: 0.0
    decoding.TURNS = 1
    watch(Trace(request["trace"], request["kill_at"]), request["under"])
    return importlib.import_module("dpc.pipeline.cli").main(request["argv"])


def forked(work: Callable[[], int]) -> int:
    """Return the exit status of a process that does `work`, negative where a signal ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = work()
        finally:
            sys.stdout.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def made(folder: Path) -> int:
    """Write the inputs of every stage; what they print is not for the caller."""
    from tests.support import resumable

    os.dup2(2, 1)
    resumable.make(folder)
    return 0


def main(folder: Path) -> None:
    """Answer requests until there are no more."""
    for module in (*warm.TORCH, *warm.DRAWING, "dpc.pipeline.cli"):
        importlib.import_module(module)
    provenance.commit()  # kept for all stages: an edit of the checkout meanwhile is no difference between them
    print(forked(lambda: made(folder)), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(forked(lambda: run(request)), flush=True)  # noqa: B023


if __name__ == "__main__":
    main(Path(sys.argv[1]))

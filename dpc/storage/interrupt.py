"""Warnings before the end: SIGUSR1 (a time limit is near) and SIGTERM ask a stage to save and stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dpc.errors import DpcError

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[Callable[[], str]]:
    """Yield a function that returns the name of the first signal of SIGNALS that came, and an empty text before that.

    Within the block these signals end nothing by themselves: ask after every unit of work, save, and raise `stopped`.
    Afterwards they do what they did before. For the main thread only.
    """
    caught: list[str] = []
    before = {number: signal.signal(number, lambda n, _: caught.append(signal.Signals(n).name)) for number in SIGNALS}
    try:
        yield lambda: caught[0] if caught else ""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped(name: str, kept: int, wanted: int, unit: str) -> DpcError:
    """Return the error of a stage that signal `name` stopped after `kept` of `wanted` units were saved."""
    cause = f"{name} before the time limit" if name == "SIGUSR1" else name
    return DpcError(f"stopped by {cause}: {kept} of {wanted} {unit} kept; run the same command again to go on")

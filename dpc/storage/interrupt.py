"""Warnings before the end: SIGUSR1 (a time limit is near) and SIGTERM ask a stage to save and stop."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dpc.errors import DpcError

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
GRACE_SECONDS = 3.0
"""A batch that takes longer from a signal on is abandoned."""


class Abandoned(BaseException):
    """Ends the work on a batch or step; nobody but who may abandon it catches this."""


class Asked:
    """Which signal of SIGNALS asked to stop first, if any."""

    def __init__(self) -> None:
        self.name = ""
        self.is_overdue = self.may_abandon = False
        self.timer = threading.Timer(GRACE_SECONDS, self._overdue)
        self.timer.daemon = True

    def __call__(self) -> str:
        """Return the signal's name, an empty text before one came."""
        return self.name

    @contextmanager
    def abandonable(self) -> Iterator[None]:
        """Let Abandoned end the block GRACE_SECONDS after a signal: it must leave nothing half done that is kept."""
        self.may_abandon = True
        try:
            yield
        finally:
            self.may_abandon = False

    def handle(self, number: int, frame: Any) -> None:
        """Note a signal, or that the time after it is over; runs in the main thread."""
        if not self.name:
            self.name = signal.Signals(number).name
            self.timer.start()
        if self.is_overdue and self.may_abandon:
            self.may_abandon = False
            raise Abandoned

    def _overdue(self) -> None:
        self.is_overdue = True
        _thread.interrupt_main(SIGNALS[0])


@contextmanager
def interruptible() -> Iterator[Asked]:
    """Yield what tells whether a signal of SIGNALS came, and which was the first.

    Within the block these signals end nothing by themselves: ask after every unit of work, save, and raise `stopped`.
    Afterwards they do what they did before, and a block around this one is told of what came here. For the main thread
    only.
    """
    asked = Asked()
    before = {number: signal.signal(number, asked.handle) for number in SIGNALS}
    try:
        yield asked
    finally:
        asked.timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
            around = getattr(handler, "__self__", None)
            if isinstance(around, Asked) and asked.name == signal.Signals(number).name:
                around.handle(number, None)


def stopped(name: str, kept: int, wanted: int, unit: str) -> DpcError:
    """Return the error of a stage that signal `name` stopped after `kept` of `wanted` units were saved."""
    cause = f"{name} before the time limit" if name == "SIGUSR1" else name
    return DpcError(f"stopped by {cause}: {kept} of {wanted} {unit} kept; run the same command again to go on")

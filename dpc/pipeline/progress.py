"""Progress of a stage: a bar on a terminal, lines in the log."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from dpc.config.messages import QUIET

_LOG_EVERY_SECONDS = 10.0
log = logging.getLogger("dpc")


class Progress:
    """Counts work done: a bar with time left on a terminal, a line with time left in the log now and then."""

    def __init__(self, bar: tqdm):
        self.bar, self.said = bar, time.monotonic()

    def add(self, count: int, **figures: float) -> None:
        """Count `count` more, and show `figures` beside the bar."""
        self.bar.update(count)
        self.show(0, **figures)

    def show(self, more: int, **figures: float) -> None:
        """Show `figures`, and `more` units that are as good as done, where it is time to."""
        self.bar.set_postfix({name: f"{value:.4g}" for name, value in figures.items()}, refresh=False)
        if time.monotonic() - self.said >= _LOG_EVERY_SECONDS or self.bar.n == self.bar.total:
            self.said = time.monotonic()
            about = self.bar.format_dict
            log.info("%s", tqdm.format_meter(**{**about, "n": about["n"] + more, "ncols": 100}))


@contextmanager
def progress(total: int, what: str, unit: str) -> Iterator[Progress]:
    """Yield a Progress over `total` units."""
    with tqdm(
        total=total,
        desc=what,
        unit=unit,
        file=sys.stderr,
        disable=True if os.environ.get(QUIET) else None,
        dynamic_ncols=True,
    ) as bar:
        if bar.disable:  # no terminal: the meter still counts, for the log
            bar = _SilentBar(total, what, unit)
        yield Progress(bar)


class _SilentBar:
    """The part of a tqdm bar that Progress needs, drawn nowhere."""

    def __init__(self, total: int, what: str, unit: str):
        self.total, self.n, self.what, self.unit = total, 0, what, unit
        self.started, self.postfix = time.monotonic(), ""

    def set_postfix(self, figures: dict[str, str], refresh: bool) -> None:
        self.postfix = ", ".join(f"{name}={value}" for name, value in figures.items())

    def update(self, count: int) -> None:
        self.n += count

    @property
    def format_dict(self) -> dict[str, Any]:
        elapsed = time.monotonic() - self.started
        return {
            "n": self.n, "total": self.total, "elapsed": elapsed, "prefix": self.what, "unit": self.unit,
            "postfix": self.postfix,
        }  # fmt: skip

"""What stages share: provenance for the footers of their tables, progress bars, shards, model and question access."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from dpc import __version__
from dpc.config.kinds import Settings
from dpc.config.versions import VERSIONS
from dpc.storage.hub import origin
from dpc.tasks.base import hash_order

_PACKAGES = ("torch", "transformers", "pandas", "pyarrow", "snakemake")
_LOG_EVERY_SECONDS = 10.0
log = logging.getLogger("dpc")


def provenance(stage: str, settings: Settings, *, model: Path | None = None, **more: Any) -> dict[str, Any]:
    """Return who made a table: stage, its version, code and packages, settings, host, time, and what else is given.

    `model` is the folder of the model: its hub id and commit, where it was fetched.
    """
    if model is not None:
        more["model"] = origin(model)
    return {
        "stage": stage,
        "version": VERSIONS[stage],
        "dpc": __version__,
        "settings": settings.model_dump(mode="json"),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "host": platform.node(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **more,
    }


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
    with tqdm(total=total, desc=what, unit=unit, file=sys.stderr, disable=None, dynamic_ncols=True) as bar:
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


def of_shard(table: pd.DataFrame, shard: int, shards: int) -> pd.DataFrame:
    """Return the rows of shard `shard` (from 1) of `shards`: a question's shard depends on its id alone."""
    number = [int(hash_order(key, "shard")[:8], 16) % shards for key in table["problem_id"]]
    return table[np.array(number, dtype=int) == shard - 1].reset_index(drop=True)


def number(value: float | None) -> float | None:
    """Return a number of a table, None for null."""
    return None if value is None or pd.isna(value) else float(value)

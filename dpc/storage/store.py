"""Finished rows that a stage keeps beside its output, so that a killed job continues where it stopped.

A store is a folder of Parquet parts, each written whole under a name of its own: saving costs what is new, however much
is kept already. A part holds whole batches. Who leaves out kept rows from a list that is cut into batches in a fixed
order therefore gets the batches that an undisturbed run would have made, whatever is left.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.kinds import Settings
from dpc.config.stages import VERSIONS
from dpc.errors import DpcError
from dpc.storage import tables
from dpc.storage.files import atomic, remove_leftovers
from dpc.storage.interrupt import Abandoned, Asked, interruptible, stopped

log = logging.getLogger("dpc")
Make = Callable[[pd.DataFrame], Iterator[pd.DataFrame]]
"""From the rows that are left to the table's rows, batch by batch."""
Begun = dict[tuple[str, ...], list[int]]
"""Tokens by a row's keys."""
BEGUN = "begun.json"


class Store:
    """What is kept of one output table."""

    def __init__(self, folder: Path, table: str, context: str, execution: Execution, engine: str = "torch"):
        """Open the store in `folder` for rows of `table` that `engine` makes.

        Rows kept in another `context` are not used.
        """
        self.engine = engine
        self.folder, self.table, self.context, self.execution = Path(folder), table, context, execution
        self.keys = [key for key in ("problem_id", "edit_id", "variant") if key in tables.SCHEMAS[table]]
        self.unit = "edits" if table == "regenerations" else "questions"
        self.pending: list[pd.DataFrame] = []
        self.saved = time.monotonic()
        self.asked_to_stop = Asked()
        remove_leftovers(self.folder)

    def complete(self, wanted: pd.DataFrame, make: Make) -> tuple[pd.DataFrame, str]:
        """Return the table's rows for the keys of `wanted`, in order of their keys, and the devices they were made on.

        What is not kept comes from `make` and is kept from then on. Raises DpcError where a signal asked to stop.
        """
        kept = self._read()
        keys = pd.MultiIndex.from_frame(kept[self.keys])
        left = wanted[~pd.MultiIndex.from_frame(wanted[self.keys]).isin(keys)].reset_index(drop=True)
        done = len(wanted) - len(left)
        log.info("%d %s wanted, %d of them in the store, %d to make", len(wanted), self.unit, done, len(left))
        if len(left):
            self._fill(make(left), _unused(kept), done, len(wanted))
            kept = self._read()
        (self.folder / BEGUN).unlink(missing_ok=True)
        rows = kept.merge(wanted[self.keys], on=self.keys, validate="one_to_one")
        if len(rows) < len(wanted):
            lost = len(wanted) - len(rows)
            raise DpcError(
                f"{self.folder}: {lost} {self.unit} were saved and cannot be read; run the same command again"
            )
        return rows.sort_values(self.keys, ignore_index=True), self._made("devices")

    @property
    def engines(self) -> str:
        """Return the engines that the rows were made by."""
        return self._made("engines")

    def merge(self) -> None:
        """Put everything kept into one part."""
        parts = self._parts()
        if len(parts) > 1:
            self._write(self._read(), self._noted("devices"), self._noted("engines"))
            for part in parts:
                part.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the store: the output that it was for is written."""
        shutil.rmtree(self.folder, ignore_errors=True)  # a network file system may hold on to a file for a while

    def begun(self) -> Begun:
        """Return what the rows of a batch that was not finished have said; nothing where that was cut short."""
        file = self.folder / BEGUN
        try:
            content = json.loads(file.read_text()) if file.is_file() else {}
        except ValueError as error:
            log.warning("%s cannot be read (%s): its batch is begun anew", file, error)
            content = {}
        return {tuple(key): ids for key, ids in content["said"]} if content.get("context") == self.context else {}

    def keep_begun(self, said: Begun) -> None:
        """Keep what the rows of the batch at work have said so far."""
        with atomic(self.folder / BEGUN) as temporary:
            temporary.write_text(json.dumps({"context": self.context, "said": list(said.items())}))

    def _fill(self, parts: Iterator[pd.DataFrame], numbers: Iterator[int], done: int, wanted: int) -> None:
        """Keep `parts` as they are made: now and then, before a stop, and whatever error ends the work."""
        with interruptible() as self.asked_to_stop:
            try:
                while (rows := self._next(parts)) is not None:
                    self._add(rows, next(numbers))
                    done += len(rows)
                    if self.asked_to_stop():
                        break
            finally:
                self._save()
            name = self.asked_to_stop()
        if name and done < wanted:
            raise stopped(name, done, wanted, self.unit)

    def _next(self, parts: Iterator[pd.DataFrame]) -> pd.DataFrame | None:
        """Return the next batch, None behind the last one, or where a stop could not wait for it."""
        try:
            with self.asked_to_stop.abandonable():
                return next(parts, None)
        except Abandoned:
            return None

    def _add(self, rows: pd.DataFrame, number: int) -> None:
        self.pending.append(rows.assign(batch=number))
        if time.monotonic() - self.saved >= self.execution.save_every_seconds:
            self._save()

    def _save(self) -> None:
        if self.pending:
            self._write(pd.concat(self.pending, ignore_index=True), [self.execution.device], [self.engine])
            self.pending = []
        self.saved = time.monotonic()

    def _write(self, rows: pd.DataFrame, devices: list[str], engines: list[str]) -> None:
        """Write one part, under a name that no other process and no other moment gives."""
        name = f"{time.time_ns():020d}-{platform.node()}-{os.getpid()}.parquet"
        about = {"context": self.context, "devices": devices, "engines": engines}
        tables.write(self.folder / name, self.table, rows, about)

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _noted(self, what: str) -> list[str]:
        """Return the `devices` or `engines` of all parts; parts of earlier releases name no engine: it was torch."""
        return sorted({each for part in self._parts() for each in tables.provenance(part).get(what, ["torch"])})

    def _made(self, what: str) -> str:
        return ", ".join(self._noted(what)) or "none"

    def _read(self) -> pd.DataFrame:
        """Return every kept row once, though a process that was thought dead may have made some of them again."""
        found = [rows for part in self._parts() if (rows := self._usable(part)) is not None]
        return pd.concat([tables.empty(self.table), *found], ignore_index=True).drop_duplicates(self.keys)

    def _usable(self, part: Path) -> pd.DataFrame | None:
        """Return the rows of a part; delete it if it cannot be read or was made in another context."""
        try:
            rows = tables.read(part, self.table)
            if tables.provenance(part).get("context") == self.context:
                return rows
            log.info(
                "%s was made with other code, settings, model, prompt or questions; its rows are generated again", part
            )
        except DpcError as error:
            log.warning("rows of a store are generated again: %s", error)
        part.unlink(missing_ok=True)
        return None


def context(stage: str, settings: Settings, model: Path, prompt: Path | None, texts: pd.DataFrame) -> str:
    """Return a hash of all that a row depends on beside its keys; `texts` is what the model reads."""
    weights = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(model.glob("*")) if f.is_file()]
    content = [stage, VERSIONS[stage], settings.model_dump(mode="json"), weights, texts.to_dict("list")]
    if prompt and prompt.is_file():  # whoever loads it says that it is missing
        content.append(hashlib.sha256(prompt.read_bytes()).hexdigest())
    return hashlib.sha256(json.dumps(content, default=lambda array: array.tolist()).encode()).hexdigest()


def _unused(kept: pd.DataFrame) -> Iterator[int]:
    """Yield batch numbers that no kept row has: in fixed order, those that an undisturbed run would have given."""
    used = set(kept["batch"]) if "batch" in kept else set()
    return (number for number in itertools.count() if number not in used)

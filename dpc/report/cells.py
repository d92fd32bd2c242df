"""The tables that figures and tables of the report are made from, of one cell or of many, each file read once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.stats.chance import is_luck
from dpc.analysis.stats.statistics import seed_mean
from dpc.analysis.studies.outcomes import WITHOUT_PROMPT
from dpc.config.layers import layer_range
from dpc.config.slices import FiguresStage, ReportStage
from dpc.errors import DpcError
from dpc.report import wording
from dpc.report.table_text import CELL
from dpc.report.wording import Band
from dpc.storage import provenance, tables
from dpc.tasks import get_task

Cell = tuple[str, ...]
"""Model, dataset and recipe."""
Columns = tuple[str, ...] | None
LIGHT: dict[str, Columns] = {
    "outcomes": ("problem_id", "plan", "candidate", "fired", "correct", "correct_lenient", "stop_reason"),
}
"""Columns without texts, which would fill the memory of whoever reads all cells."""

ACCURACIES = (
    "questions", "accuracy", "low", "high", "seed_low", "seed_high", "lenient", "lenient_low", "lenient_high",
    "answers", "cut", "idle",
)  # fmt: skip
"""What `Tables.accuracies` says of a plan."""


class Tables:
    """Tables by name, as their files say it.

    The files of a name go through models, then datasets, recipes and seeds, as `itertools.product` of those settings.
    """

    def __init__(self, files: Sequence[Path], settings: ReportStage):
        self.settings = settings
        self._files: dict[str, list[Path]] = {}
        for file in files:
            self._files.setdefault(tables.name_of(file), []).append(file)
        self._read: dict[tuple[Path, Columns], pd.DataFrame] = {}
        self._made: dict[str, pd.DataFrame] = {}

    def once(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Return what `make` returns, which several tables need, and make it once."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def origin(self, names: Iterable[str]) -> str:
        """Return the sentence on the code, model, data and prompts that the tables `names` come from."""
        return provenance.short([file for name in names for file in self._files[name]])

    def each(self, name: str, columns: Columns = None) -> list[pd.DataFrame]:
        """Return table `name` of every cell and seed, all columns or `columns`. Raises DpcError where there is none."""
        if name not in self._files:
            raise DpcError(f"found no table {name}; expected it among those that the figure or table declares")
        return [self._one(path, name, columns) for path in self._files[name]]

    def _one(self, path: Path, name: str, columns: Columns) -> pd.DataFrame:
        if (path, columns) not in self._read:
            self._read[path, columns] = tables.read(path, name, list(columns) if columns else None)
        return self._read[path, columns]

    def first(self, name: str) -> pd.DataFrame:
        """Return table `name` of the first seed."""
        return self.each(name)[0]

    def cells(self, name: str, columns: Columns = None) -> dict[Cell, list[pd.DataFrame]]:
        """Return the tables of each cell, one per seed."""
        settings, found = self.settings, dict[Cell, list[pd.DataFrame]]()
        lists = (settings.models, settings.datasets, settings.recipes, settings.prompt_seeds)
        for (*cell, _), rows in zip(itertools.product(*lists), self.each(name, columns), strict=True):
            found.setdefault(tuple(map(str, cell)), []).append(rows)
        return found

    def by_cell(self, name: str, columns: Columns = None) -> dict[Cell, pd.DataFrame]:
        """Return the tables of each cell, its seeds below each other, with a column `seed`."""
        seeds = self.settings.prompt_seeds
        return {
            cell: pd.concat([rows.assign(seed=seed) for seed, rows in zip(seeds, each, strict=True)], ignore_index=True)
            for cell, each in self.cells(name, columns).items()
        }

    def stacked(self, name: str) -> pd.DataFrame:
        """Return the tables of the one cell that is shown, its seeds below each other, with a column `seed`."""
        (rows,) = self.by_cell(name).values()
        return rows

    def labelled(self, name: str) -> pd.DataFrame:
        """Return the tables of all cells one after the other, with columns for model, dataset, recipe and seed."""
        cells = self.by_cell(name).items()
        return pd.concat([rows.assign(**_labels(cell)) for cell, rows in cells], ignore_index=True)

    def summed(self, name: str, make: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
        """Return what `make` finds in every cell, first columns model, dataset and recipe."""
        made = [make(rows).assign(**_labels(cell)) for cell, rows in self.by_cell(name).items()]
        whole = pd.concat(made, ignore_index=True)
        return whole[[*CELL, *(column for column in whole if column not in CELL)]]

    def accuracies(self) -> pd.DataFrame:
        """Return accuracy per cell and plan in both readings, with intervals over questions, conditional on the seeds.

        `cut` of all `answers` ended at max_new_tokens (those without a prompt are the same under every seed, and count
        once); under `idle` seeds the plan fires on no question.
        Plans that try several candidates per question are upper bounds without such an interval: left out.
        """
        rows = [
            {**_labels(cell), "plan": plan, **_pool(group, self.settings)}
            for cell, seeds in self.by_cell("outcomes", LIGHT["outcomes"]).items()
            for plan, group in seeds.groupby("plan", sort=False)
            if (group["candidate"] < 0).all()
        ]
        return pd.DataFrame(rows, columns=[*CELL, "plan", *ACCURACIES])

    def chances(self) -> dict[Cell, float]:
        """Return the accuracy that guessing reaches in each cell."""
        settings = self.settings
        lists = itertools.product(settings.models, settings.datasets, settings.recipes)
        return {tuple(cell): get_task(settings.tasks[cell[1]]).CHANCE for cell in lists}

    def luck(self) -> str:
        """Return a sentence on the cells where right answers may be luck, by table `evidence`; nothing without such."""
        found, level = self.by_cell("evidence"), self.settings.statistics.confidence
        return wording.luck([cell for cell, chance in self.chances().items() if is_luck(found[cell], chance, level)])


def bands(found: Tables, settings: FiguresStage) -> tuple[Band | None, Band | None]:
    """Return the shallow and the deep layers, first and last; None where no instance tells how deep the model is."""
    rows = [*found.each("layers"), found.first("accumulation")]
    depth = max((int(table["layer"].max()) + 1 for table in rows if len(table)), default=0)
    if not depth:
        return None, None
    shallow, deep = (layer_range(spec, depth) for spec in (settings.flow.shallow_layers, settings.flow.deep_layers))
    return (shallow[0], shallow[-1]), (deep[0], deep[-1])


def _labels(cell: Cell) -> dict[str, str]:
    return dict(zip(CELL, cell, strict=True))


def _pool(group: pd.DataFrame, settings: ReportStage) -> dict[str, Any]:
    """Return the accuracy of one plan over seeds x questions, read strictly and leniently."""
    strict, lenient = (
        group.pivot(index="seed", columns="problem_id", values=name).astype(float)
        for name in ("correct", "correct_lenient")
    )
    found, read = (seed_mean(right.to_numpy(), settings.statistics.confidence) for right in (strict, lenient))
    by_seed = strict.mean(axis=1)
    different = group.drop_duplicates("problem_id") if (group["plan"] == WITHOUT_PROMPT).all() else group
    return {
        "questions": found.n,
        "accuracy": found.value,
        "low": found.low,
        "high": found.high,
        "seed_low": by_seed.min(),
        "seed_high": by_seed.max(),
        "lenient": read.value,
        "lenient_low": read.low,
        "lenient_high": read.high,
        "answers": len(different),
        "cut": int((different["stop_reason"] == "length").sum()),
        "idle": int((~group.groupby("seed")["fired"].any()).sum()),
    }

"""The configured and the best choice of every sweep, on calibration and once on test."""

from __future__ import annotations

import pandas as pd

from dpc.config.slices import TablesStage
from dpc.report import wording
from dpc.report.cells import Tables
from dpc.report.exhibits import table
from dpc.report.table_text import (
    CELL,
    Table,
    percent,
    plain,
)


@table(
    category="6 Evidence",
    caption=(
        "How much depends on each choice: the configured and the best choice of each sweep, on calibration and once "
        "on test."
    ),
    tables=("sensitivity",),
)
def sensitivity(tables: Tables, settings: TablesStage) -> Table:
    """Return one row per cell, sweep, seed and choice."""
    return build(tables.summed("sensitivity", lambda rows: rows), settings)


def build(rows: pd.DataFrame, settings: TablesStage) -> Table:
    """Return, per cell, sweep and seed, the configured and the best choice on calibration, each once on test.

    The CSV has every choice of every sweep; `rows` is table `sensitivity` of all cells with a column `seed`.
    """
    numbers = rows.reset_index(drop=True)
    keys = [*CELL, "sweep", "seed", "row", "column"]
    shown = numbers[numbers["configured"].astype(bool) | numbers["best"].astype(bool)]
    wide = shown[shown["split"] == "calibration"].merge(
        shown.loc[shown["split"] == "test", [*keys, "fire_rate", "gain", "known"]], on=keys, suffixes=("", "_test")
    )
    text = wide[CELL].astype(str)
    text["sweep"], text["seed"] = wide["sweep"], wide["seed"].astype(str)
    text["choice"] = [f"{row}, {column}" for row, column in zip(wide["row"], wide["column"], strict=True)]
    text["which"] = [_which(*pair) for pair in zip(wide["configured"], wide["best"], strict=True)]
    text["R"] = [plain(value, 2) if not pd.isna(value) else "never" for value in wide["share"]]
    for split, end in (("calibration", ""), ("test", "_test")):
        text[f"fires, {split} (%)"] = wide[f"fire_rate{end}"].map(percent)
        gains = zip(wide[f"gain{end}"], wide[f"known{end}"], strict=True)
        text[f"gain, {split} (points)"] = [wording.starred(percent(gain), known) for gain, known in gains]
    return Table("sensitivity", "How much depends on each choice?", numbers, text, _caption(numbers, settings))


def _which(configured: bool, best: bool) -> str:
    return " and ".join(name for name, is_it in (("configured", configured), ("best", best)) if is_it)


def _caption(numbers: pd.DataFrame, settings: TablesStage) -> str:
    choices = numbers.groupby([*CELL, "sweep", "seed"])["configured"].any()
    absent = (
        "Where DPC never fires, the configured choice is none of sweep threshold's, which has no row for it there. "
        if not choices.all()
        else ""
    )
    return (
        "Look for gains on calibration that are there on test, too: others were probably luck. "
        "For each sweep (threshold: κ and R; deep: deep layers and how flow is cut, R chosen again; shallow: "
        "shallow layers and receivers; edit: Γ and mask) the configured choice and the one with the largest gain "
        "over prompt tuning on calibration, among those whose answers are all known; both once on test. A star: "
        "some answers were not generated; the gain is the fire rate times the mean over the fired questions whose "
        f"answer is known. A dash: none of them is known. {absent}The CSV has every choice. {wording.method(settings)} "
        f"{wording.run(settings)}"
    )

"""The table and the figure of what prompts say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpc.config.slices import FiguresStage, TablesStage
from dpc.report.cells import Tables
from dpc.report.figures import readability_figure
from dpc.report.making import draw_figures, write_tables
from tests.support.legible import assert_legible
from tests.support.report_samples import all_of, interpretability_rows, outcome_rows, settings, table

RECIPES = ["prompt_tuning", "low_rank", "mixture", "info", "pez", "greater", "rlprompt", "random_text", "written"]


def found(folder: Path, recipes: list[str], kind: type, **more: object) -> Tables:
    """Tables of every recipe and seed, at the size of real prompts: 100 vectors."""
    chosen = settings(kind, recipes=recipes)
    files: dict[str, list[Path]] = {"interpretability": [], "outcomes": []}
    for number, recipe in enumerate(recipes):
        for seed in chosen.prompt_seeds:
            rng = np.random.default_rng([number, seed])
            read = interpretability_rows(rng, vectors=100, nll=3 + number, **more)
            for name, rows in (("interpretability", read), ("outcomes", outcome_rows(rng, oracle=False))):
                files[name].append(table(folder / f"{name}-{recipe}-{seed}.parquet", name, rows))
    return Tables(all_of(files), chosen)


@pytest.mark.parametrize("reader", [False, True])
def test_the_table_says_what_each_kind_of_prompt_says(tmp_path: Path, reader: bool) -> None:
    write_tables(["interpretability"], found(tmp_path, RECIPES[:2], TablesStage, reader=reader), tmp_path)
    numbers = pd.read_csv(tmp_path / "interpretability.csv")
    assert numbers["prompt"].tolist() == ["own", "corrupted", "instruction", "random"] * 2
    assert (numbers["difference"].dropna() == numbers["lost"].dropna().abs()).all()
    page = (tmp_path / "interpretability.html").read_text()
    for phrase in ("Look whether", "Think step by step.", "written instruction", "random tokens", "can be arbitrary",
                   "100 tokens 2.82, 6.12, 5.15"):  # fmt: skip
        assert phrase in page
    assert ("perplexity, other model" in page) == reader


@pytest.mark.parametrize("recipes", [RECIPES, RECIPES[:1]])
def test_the_figure_is_legible_with_every_tuner_and_with_one(tmp_path: Path, recipes: list[str]) -> None:
    tables = found(tmp_path, recipes, FiguresStage)
    drawn = readability_figure.readability(tables, settings(recipes=recipes))
    assert_legible(drawn.figure)
    assert "Hollow: accuracy under the nearest tokens" in drawn.caption
    answers = pd.concat(tables.each("outcomes")).query("plan == 'no_prompt'")
    levels = {str(line.get_label()): line.get_ydata() for line in drawn.figure.axes[0].lines}
    for label, reading in (("no prompt", "correct"), ("no prompt, read leniently", "correct_lenient")):
        assert levels[label] == pytest.approx([100 * answers[reading].mean()] * 2)
    draw_figures(["readability"], tables, tmp_path)
    assert "written instruction" in (tmp_path / "readability.svg").read_text()


def test_the_figure_says_where_texts_did_not_answer(tmp_path: Path) -> None:
    tables = found(tmp_path, RECIPES[:2], FiguresStage)
    silent = [rows[rows["plan"] != "projected"] for rows in tables.each("outcomes")]
    for number, rows in enumerate(silent):
        table(tmp_path / f"silent-{number}.parquet", "outcomes", rows)
    files = [*sorted(tmp_path.glob("interpretability-*.parquet")), *sorted(tmp_path.glob("silent-*.parquet"))]
    drawn = readability_figure.readability(Tables(files, tables.settings), settings(recipes=RECIPES[:2]))
    assert "was not run (plan projected)" in drawn.caption

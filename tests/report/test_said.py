"""Every "not run", "never fires", "not estimable" and truncation in tables, captions and summary is what happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dpc.analysis.stats.verdicts import NOT_JUDGED
from dpc.config.slices import TablesStage
from dpc.plans.declaration import label
from dpc.report import summary as summaries
from dpc.report.cells import Tables
from dpc.report.figures.plans_figure import plans
from dpc.report.making import write_tables
from dpc.report.summary import MOST_LINES, summary
from dpc.report.table_text import Table
from dpc.report.tables.ablation_table import ablation
from dpc.report.tables.claims_table import claims
from dpc.report.tables.cost_table import cost
from dpc.report.tables.main_table import main
from tests.support.legible import assert_legible
from tests.support.report_samples import settings
from tests.support.small_studies import PLANS, QUESTIONS, SEEDS, STUDIES, made

GAINS = {"e": "prompt_tuning", "f1": "always", "f2": "random_trigger", "f3": "random_token", "f4": "random_corruption",
         "g": "act"}  # fmt: skip
CAUSAL = {
    "j1": "not run: causal.tests has no mask",
    "j2": "not run: causal.tests has no dose",
    "j3": "not run: causal.tests has no knock_out",
    "j4": "not estimable: the prompt broke no question, or causal.tests has no path, or there is no second seed",
    "j5": "not estimable: the prompt broke no question, or causal.tests has no divergence",
    "j6a": "not estimable: no question is right under one seed and wrong under another",
    "j6b": "not estimable: no question is right under one seed and wrong under another",
    "j7": "not estimable: no seed has an R with corrupted answers on both sides",
}
METHODS = ("no_prompt", "prompt_tuning", "act", "dpc")
Read = tuple[Tables, dict[str, pd.DataFrame]]


@pytest.fixture(scope="module", params=list(STUDIES))
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Read:
    return made(STUDIES[request.param], tmp_path_factory.mktemp(request.param))


def idle(frames: dict[str, pd.DataFrame], plan: str) -> int:
    """Count the seeds under which a plan fires on nothing, straight from the answers."""
    rows = frames["outcomes"][frames["outcomes"]["plan"] == plan]
    return int((rows.groupby("seed")["fired"].sum() == 0).sum())


def few(frames: dict[str, pd.DataFrame]) -> list[int]:
    return [int(cases) for cases in frames["thresholds"]["right_cases"] if cases < 30]


def unjudged(frames: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Return the claims that can have no verdict, and why, straight from the tables."""
    never, headless = idle(frames, "dpc") == len(SEEDS), idle(frames, "act") == len(SEEDS)
    fired = dict.fromkeys([*GAINS, "h"], "DPC never fired: it is prompt tuning") if never else {}
    run = {claim: f"not run: study.plans has no {over}" for claim, over in GAINS.items() if over not in PLANS}
    run |= {"i1": "not run: study.plans has no projected", **CAUSAL}
    head = {"g": "no head confirmed: ACT is prompt tuning"} if headless and not never else {}
    cases = {"a2": "not estimable: 4 of 30 right calibration cases"} if len(few(frames)) == len(SEEDS) else {}
    return {**fired, **run, **head, **cases}


def test_a_claim_without_a_verdict_says_what_happened(study: Read) -> None:
    found, frames = study
    told = claims(found, found.settings).numbers.set_index("claim")[["verdict", "reason"]]
    assert told.loc[told["verdict"] == NOT_JUDGED, "reason"].to_dict() == unjudged(frames)


def test_a_verdict_says_which_seeds_it_leaves_out(study: Read) -> None:
    found, frames = study
    told = claims(found, found.settings).numbers.set_index("claim")
    reasons = told.loc[told["verdict"] != NOT_JUDGED, "reason"]
    parts = {
        f"DPC never fired under {idle(frames, 'dpc')} of 3 seeds": ({*GAINS, "h"}, idle(frames, "dpc")),
        f"left out, as no head was confirmed: under {idle(frames, 'act')} of 3 seeds": ({"g"}, idle(frames, "act")),
        f"{len(few(frames))} of 3 seeds left out: 4 of 30 right calibration cases": ({"a2"}, len(few(frames))),
    }
    for part, (about, count) in parts.items():
        assert {claim for claim, reason in reasons.items() if part in reason} == (about if count else set()) & {
            *reasons.index
        }
    assert sum("never fired" in reason for reason in reasons) == len({*GAINS, "h"} & {*reasons.index}) * bool(
        idle(frames, "dpc")
    )


def test_the_main_table_says_what_is_prompt_tuning_what_was_cut_and_both_readings(study: Read) -> None:
    found, frames = study
    text = main(found, found.settings).text.set_index(pd.Index(METHODS))
    for plan, words in (("act", "no head confirmed"), ("dpc", "never fires")):
        count = idle(frames, plan)
        where = "" if count == len(SEEDS) else f" in {count} of 3 seeds"
        assert text.loc[plan, "method"] == label(plan) + (f" ({words}{where}: prompt tuning)" if count else "")
    for plan in METHODS:
        own = frames["outcomes"][frames["outcomes"]["plan"] == plan]
        each = own.drop_duplicates("problem_id") if plan == "no_prompt" else own  # the same answers under every seed
        assert text.loc[plan, "cut short"] == f"{(each['stop_reason'] == 'length').sum()} of {len(each)}"
        assert text.loc[plan, "accuracy (%)"] == f"{100 * own['correct'].mean():.1f}"
        assert str(text.loc[plan, "read leniently (%)"]).startswith(f"{100 * own['correct_lenient'].mean():.1f} [")


@pytest.mark.parametrize("make", [ablation, cost])
def test_a_plan_that_never_fires_says_so_and_is_not_tested_against_itself(
    make: Callable[..., Table], study: Read
) -> None:
    found, frames = study
    table = make(found, found.settings)
    for plan, text in zip(table.numbers["plan"], table.text.to_dict("records"), strict=True):
        count = 0 if plan in METHODS[:2] else idle(frames, plan)
        words = "no head confirmed" if plan == "act" else "never fires"
        where = "" if count == len(SEEDS) else f" in {count} of 3 seeds"
        assert text["plan"] == label(plan) + (f" ({words}{where}: prompt tuning)" if count else "")
        if make is ablation:
            assert text["McNemar p per seed"].count("–") == idle(frames, plan)


def test_many_cells_are_counted_and_few_are_named() -> None:
    names = {"models": ["a", "b"], "datasets": ["gsm8k", "aqua", "arithmetic"], "recipes": ["x"]}
    chosen = settings(TablesStage, **names)
    cells = [(model, dataset, "x") for model in names["models"] for dataset in names["datasets"]]
    assert [summaries._where(cells[:count], chosen) for count in (2, 4, 6)] == [
        " (a gsm8k; a aqua)", " (4 of 6 cells)", " (all 6 cells)",
    ]  # fmt: skip


def test_the_figure_says_what_never_fires_what_was_cut_and_both_readings(study: Read) -> None:
    found, frames = study
    drawn = plans(found, found.settings)
    assert_legible(drawn.figure)
    marked = {plan for plan in PLANS if plan not in METHODS[:2] and idle(frames, plan)}
    notes = re.findall(r"([^.;]+): (no head confirmed|no question fires) under (\d) of 3 seeds", drawn.caption)
    told = {(name.strip(), count) for names, _, count in notes for name in names.split(", ")}
    assert told == {(label(plan), str(idle(frames, plan))) for plan in marked}
    beside = [text.get_text() for text in drawn.figure.axes[0].texts]
    assert sum("†" in text for text in beside) == len(marked)
    alone = frames["outcomes"][frames["outcomes"]["plan"] == "no_prompt"]
    assert f"{100 * alone['correct'].mean():.1f} / {100 * alone['correct_lenient'].mean():.1f}" in beside
    cut = int((alone.drop_duplicates("problem_id")["stop_reason"] == "length").sum())
    assert (f"Cut short at max_new_tokens: No prompt {cut} of {QUESTIONS} answers." in drawn.caption) == (cut > 0)
    assert ("No answer of the methods was cut short" in drawn.caption) == (cut == 0)


def test_the_summary_is_short_and_true(study: Read) -> None:
    found, frames = study
    text = summary(found, found.settings, Path("results/small"))
    assert len(text.splitlines()) <= MOST_LINES
    verdicts = claims(found, found.settings).numbers["verdict"]
    assert all(f"{count} {verdict}" in text for verdict, count in verdicts.value_counts().items())
    for plan, words in (("dpc", "DPC: never fires"), ("act", "ACT: no head confirmed")):
        assert (f"{words} under {idle(frames, plan)} of 3 seeds" in text) == (idle(frames, plan) > 0)
    assert ("DPC never fired: it is prompt tuning" in text) == (idle(frames, "dpc") == len(SEEDS))
    alone = frames["outcomes"].query("plan == 'no_prompt'").drop_duplicates("problem_id")
    cut = int((alone["stop_reason"] == "length").sum())
    answers = QUESTIONS * (1 + len(SEEDS) * (len(METHODS) - 1))
    counted = f"No prompt {cut} of {QUESTIONS}" if cut else f"none of {answers}"
    assert f"Answers cut short at max_new_tokens: {counted}" in text
    assert "changes 0 of 24 verdicts" in text
    assert ("Warning: the prompt lowers accuracy, read leniently: 75.0 → " in text) == (cut > 0)
    assert ("Warning: more than 10 % of the answers of a method are cut short" in text) == (cut > 0)


def test_a_study_of_nine_cells_is_summed_up_in_as_few_lines(tmp_path: Path) -> None:
    one, _ = made(STUDIES["never_fires"], tmp_path)
    names = {"models": ["a", "b"], "datasets": ["gsm8k", "aqua", "arithmetic"], "recipes": ["x", "y"]}
    many = Tables(
        [file for name in one._files for file in one._files[name] * 12], settings(type(one.settings), **names)
    )
    text = summary(many, many.settings, Path("results/large"))
    assert len(text.splitlines()) <= MOST_LINES
    assert "… and 3 cells more: table main" in text


def test_tables_end_with_where_they_come_from(tmp_path: Path) -> None:
    found, _ = made(STUDIES["embedded"], tmp_path / "in")
    write_tables(["claims"], found, tmp_path)
    assert re.search(r"Made with dpc [\d.]+, commit \w+", (tmp_path / "claims.md").read_text())

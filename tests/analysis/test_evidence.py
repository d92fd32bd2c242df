"""Trigger quality and the stages of the evidence: by hand, and with planted truth."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.readings import flow, reading
from dpc.analysis.stats.verdicts import SUPPORTED
from dpc.analysis.studies import causal, claims
from dpc.analysis.studies import trigger_quality as trigger
from dpc.config.methods import Act
from dpc.config.settings import Flow, Locate, Sample, Trigger
from dpc.config.slices import EvidenceStage, TablesStage
from dpc.pipeline.stages import gather_evidence as evidence_stage
from dpc.report import wording
from dpc.report.cells import Tables
from dpc.report.making import draw_figures, write_tables
from dpc.report.tables import trigger_table
from dpc.storage import tables
from dpc.tasks.base import AT_CHANCE
from tests.analysis.test_claims import SEEDS, cell, with_act
from tests.analysis.test_sensitivity import swept
from tests.analysis.test_variants import compared
from tests.support.derived import flow_of, readings_of, verdicts_of
from tests.support.legible import assert_legible
from tests.support.report_samples import all_of, interpretability_rows, settings, table, threshold_rows
from tests.support.saliency_rows import (
    Places,
    flow_maps,
    generation,
    instance,
    random_maps,
    saliency_row,
    total,
)

# readings


def test_prompt_influence_is_the_mean_over_pairs() -> None:
    places = Places(3, 4, (0, 0, 1, 1, 1))
    maps = random_maps(1, 5, places)
    rows = places.q_rows + places.r_rows
    expected = [total(map_SS, rows, places.p) / (len(rows) * len(places.p)) for map_SS in maps]
    made = instance(maps, places)
    assert flow.prompt_influence(made) == pytest.approx(expected)
    inside = np.mean(expected[:3])  # 2-10 of 32 are 0-2 of 5
    assert flow.band_log_ratio(made) == pytest.approx(math.log(inside / np.mean(expected[3:])))


def test_evenness_is_the_largest_part_of_a_broken_stick() -> None:
    assert reading.evenness(1) == 1
    assert reading.evenness(2) == pytest.approx(0.75)
    drawn = np.random.default_rng(0).dirichlet(np.ones(8), 40_000).max(axis=1)
    assert reading.evenness(8) == pytest.approx(drawn.mean(), abs=2e-3)
    assert math.isnan(reading.evenness(0))


@pytest.mark.parametrize(("start", "expected"), [(0, 0.6), (1, 0.6)])
def test_position_zero_is_left_out_only_where_the_prompt_stands_there(start: int, expected: float) -> None:
    # the first vector has 6 of 10 parts, the others 3 and 1
    maps = flow_maps([1.0] * 4, Places(3, 2, (0,) * 4))
    row = saliency_row(maps, Places(3, 2, (0,) * 4), prompt_start=start)
    for name in ("column_question", "column_rationale"):
        row[name] = [6.0, 3.0, 1.0] * 6
    made = pd.DataFrame([generation("x", "test", "1")])
    found = readings_of(pd.DataFrame([row]), made, Flow(), Trigger(), Locate()).iloc[0]
    assert found["accumulation_beyond_zero"] == pytest.approx(0.75 if start == 0 else expected)
    assert found["first_position"] == (start == 0)
    assert found["concentration"] == pytest.approx(0.6 / reading.evenness(3))


# stages


def test_the_stage_puts_readings_and_outcomes_side_by_side(tmp_path: Path) -> None:
    places = Places(3, 2, (0, 0, 1, 1))
    keys = {"right": "1", "broken": "0", "silent": None}
    rows = [saliency_row(flow_maps([1, 1, 2, 2], places, column=1, peak=2.0), places, key) for key in keys]
    made = pd.DataFrame([generation(key, "test", answer) for key, answer in keys.items()])
    alone = pd.DataFrame([generation(key, "test", "1", "unprompted") for key in keys])
    fitted = dict.fromkeys(tables.SCHEMAS["thresholds"]) | {
        "share": 0.5, "net": 1, "s_ifp_limit": 0.0, "static_vector": -1, "right_cases": 1, "calibration_questions": 1,
        "note": "",
    }  # fmt: skip
    names = {
        "flow": ("flow", flow_of(pd.DataFrame(rows), made, Flow(), Locate())),
        "thresholds": ("thresholds", pd.DataFrame([fitted])),
        "base": ("verdicts", verdicts_of(made)),
        "unprompted": ("verdicts", verdicts_of(alone)),
    }
    at: dict[str, Any] = {flag: table(tmp_path / f"{flag}.parquet", *named) for flag, named in names.items()}
    stage = EvidenceStage(trigger=Trigger(), locate=Locate(), sample=Sample())
    out = tmp_path / "evidence.parquet"
    evidence_stage.run(stage, **at | {"base": [at["base"]], "unprompted": [at["unprompted"]]}, out=out)
    found = tables.read(out, "evidence").set_index("problem_id")
    assert found["correct"].to_dict() == {"right": True, "broken": False, "silent": False}
    assert found["fired"].to_dict() == {"right": True, "broken": True, "silent": False}
    assert found["located"].tolist() == [1, 1, 1]
    assert found["flow_changed"].tolist() == [True, True, True]
    assert trigger.target(found, "broken").tolist() == [False, True, True]


def complete(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Fill in the columns of table `outcomes` that claims do not look at."""
    return outcomes.assign(
        correct_lenient=True, answer="1", extracted="1", extracted_lenient="1", text="", question="", stop_reason="end",
        tokens=1, seconds=0.1, grader="1", seconds_generation=0.1, seconds_trigger=0.0, seconds_location=0.0,
        seconds_regeneration=0.0, tokens_regeneration=0,
    )  # fmt: skip


def compared_in(folder: Path) -> Path:
    """Write table `variants` of one cell and seed into a new folder."""
    folder.mkdir()
    compared(folder)
    return folder / "out.parquet"


def read_in(folder: Path) -> list[Path]:
    """Write table `interpretability` of one cell's seeds into a new folder."""
    folder.mkdir()
    rows = {seed: interpretability_rows(np.random.default_rng(seed)) for seed in SEEDS}
    return [table(folder / f"{seed}.parquet", "interpretability", rows[seed]) for seed in SEEDS]


TABLES = ("claims", "trigger", "confounds", "sensitivity", "variants")
FIGURES = ("trigger", "confounds", "sensitivity")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells of three seeds, written as tables and drawn by the stages."""
    folder = tmp_path_factory.mktemp("evidence")
    chosen = settings(TablesStage, recipes=["good", "bad"])
    files: dict[str, list[Path]] = {
        name: [] for name in ("evidence", "outcomes", "mechanism", "causal", "thresholds", "sensitivity", "variants")
    }
    for recipe, effects in (("good", {"gain": 0.3, "separation": 1.0}), ("bad", {"questions": 40})):
        made = cell(np.random.default_rng(2), **effects)
        made["outcomes"] = complete(made["outcomes"])
        for seed, name in itertools.product(SEEDS, made):
            rows = made[name][made[name]["seed"] == seed]
            files[name].append(table(folder / f"{name}-{recipe}-{seed}.parquet", name, rows))
        for seed in SEEDS:
            path = folder / f"sensitivity-{recipe}-{seed}.parquet"
            files["sensitivity"].append(table(path, "sensitivity", swept(fires=recipe == "good")))
            files["variants"].append(compared_in(folder / f"variants-{recipe}-{seed}"))
        files.setdefault("interpretability", []).extend(read_in(folder / f"interpretability-{recipe}"))
    write_tables(TABLES, Tables(all_of(files), chosen), folder / "tables")
    own = {name: files[name][:3] for name in ("evidence", "sensitivity")}
    draw_figures(FIGURES, Tables(all_of(own), settings(recipes=["good"])), folder / "figures")
    return folder


def test_tables_say_what_to_look_for_and_give_verdicts(written: Path) -> None:
    for name, expected in {
        "claims": ["Look at the verdict", "supported", "too little data", "not run:", "toy", "1.36", "Holm"],
        "trigger": ["Look for precision", "test − calibration", "too little data"],
        "sensitivity": ["Look for gains", "configured and best", "never"],
        "variants": ["Look for rows", "loss: the answer alone", "unknown", "too little data"],
        "confounds": ["Look for correlations", "given NLL, length, steps", "position 1 behind BOS"],
    }.items():
        page = (written / "tables" / f"{name}.html").read_text()
        assert [phrase for phrase in expected if phrase not in page] == []
        assert (written / "tables" / f"{name}.tex").read_text().startswith("% needs")
    head = (written / "tables" / "claims.md").read_text().split("\n")[2]
    assert "| claim | verdict |" in head
    numbers = pd.read_csv(written / "tables" / "claims.csv")
    # i2 compares the prompts of both recipes
    assert len(numbers) == 2 * len((*claims.CLAIMS, *causal.CLAIMS)) + 1
    assert numbers.set_index(["recipe", "claim"]).loc[("good", "e"), "verdict"] == SUPPORTED


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("released", "act.mode is released: ACT ran for the record only"),
        ("prefill_sets", "over questions and over seeds"),
    ],
)
def test_the_published_function_is_nothing_to_beat(tmp_path: Path, mode: str, reason: str) -> None:
    made = with_act(cell(np.random.default_rng(2), gain=0.3), SEEDS)
    made["outcomes"] = complete(made["outcomes"])
    files = {
        name: [table(tmp_path / f"{name}-{s}.parquet", name, rows[rows["seed"] == s]) for s in SEEDS]
        for name, rows in made.items()
    }
    files["sensitivity"] = [table(tmp_path / f"sensitivity-{s}.parquet", "sensitivity", swept()) for s in SEEDS]
    files["variants"] = [compared_in(tmp_path / f"variants-{s}") for s in SEEDS]
    files["interpretability"] = read_in(tmp_path / "interpretability")
    files["thresholds"] = [table(tmp_path / f"fitted-{s}", "thresholds", threshold_rows()) for s in SEEDS]
    chosen = settings(TablesStage, recipes=["good"], act=Act(mode=mode))
    write_tables(["claims"], Tables(all_of(files), chosen), tmp_path / "tables")
    assert pd.read_csv(tmp_path / "tables" / "claims.csv").set_index("claim").loc["g", "reason"] == reason


def test_figures_say_what_to_look_for(written: Path) -> None:
    for name in FIGURES:
        caption = (written / "figures" / f"{name}.txt").read_text()
        assert "Look " in caption
        assert "recipe good" in caption
        assert (written / "figures" / f"{name}.svg").stat().st_size > 0


@pytest.mark.parametrize(("dataset", "is_luck"), [("aqua", True), ("gsm8k", False)])
def test_tables_and_figures_say_where_right_answers_may_be_luck(tmp_path: Path, dataset: str, is_luck: bool) -> None:
    made = cell(np.random.default_rng(2), questions=60)
    made["outcomes"] = complete(made["outcomes"])
    made["evidence"]["correct"] = made["evidence"]["problem_id"].str[-1] == "0"  # one in ten
    files = {
        name: [table(tmp_path / f"{name}-{s}.parquet", name, rows[rows["seed"] == s]) for s in SEEDS]
        for name, rows in made.items()
    }
    files["sensitivity"] = [table(tmp_path / f"sensitivity-{s}.parquet", "sensitivity", swept()) for s in SEEDS]
    files["variants"] = [compared_in(tmp_path / f"variants-{s}") for s in SEEDS]
    files["interpretability"] = read_in(tmp_path / "interpretability")
    files["thresholds"] = [table(tmp_path / f"fitted-{s}", "thresholds", threshold_rows()) for s in SEEDS]
    own = {name: files[name] for name in ("evidence", "sensitivity")}
    names = {"recipes": ["good"], "datasets": [dataset]}
    write_tables(TABLES, Tables(all_of(files), settings(TablesStage, **names)), tmp_path)
    draw_figures(FIGURES, Tables(all_of(own), settings(**names)), tmp_path)
    for name in ("trigger", "confounds"):
        for kind in ("txt", "html"):
            assert (f"{dataset}, good: {AT_CHANCE}" in (tmp_path / f"{name}.{kind}").read_text()) == is_luck
    assert AT_CHANCE not in (tmp_path / "sensitivity.html").read_text()
    verdicts = pd.read_csv(tmp_path / "claims.csv").set_index("claim")["reason"]
    assert ("not above chance" in verdicts["b1"]) == is_luck


@pytest.mark.parametrize("questions", [400, 40, 0])
def test_nothing_overlaps(questions: int) -> None:
    from dpc.analysis.studies import confounds
    from dpc.report.figures import confounds_figure, trigger_figure

    rows = cell(np.random.default_rng(3), questions=max(questions, 4))["evidence"].iloc[: None if questions else 0]
    drawn = [
        trigger_figure.draw(trigger.curves(rows), trigger.quality(rows, 0.95), settings()),
        confounds_figure.draw(confounds.confounds(rows, 0.95), settings()),
    ]
    for made in drawn:
        assert_legible(made.figure)


def test_every_reading_and_target_has_a_name() -> None:
    from dpc.analysis.studies.confounds import READINGS

    assert set(wording.READINGS) == set(READINGS)
    assert set(trigger_table.MEASURES) == set(trigger.MEASURES)

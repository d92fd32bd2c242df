"""Planted harm: the optimised vector, the rules that name a vector to blame, and what is said of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dpc.analysis.readings.locating import NORM, RULES, located
from dpc.analysis.stats.statistics import mean_interval
from dpc.analysis.studies import planted
from dpc.analysis.studies.planted import summary
from dpc.config.harm import Planting as Told
from dpc.config.settings import Flow, Locate, Statistics, Trigger, load_config
from dpc.config.slices import ValidationStage
from dpc.errors import DpcError
from dpc.lm.examples import Example
from dpc.lm.layout import Layout
from dpc.pipeline.stages import plant_harm as validate
from dpc.pipeline.stages import write_validation as validation
from dpc.prompts.planting import Planting, _harm, plant
from dpc.report.tables import validation_table
from dpc.storage import tables
from dpc.storage.columns import PLANTED_MEASURES
from tests.support import config_tree, tiny
from tests.support.saliency_rows import Places, instance
from tests.support.workflow import SMALLEST, Workflow, nested, overlay

PLACES = Places(4, 3, (0, 0, 0, 1, 1, 1))
LAYERS = 8


def examples(count: int = 24) -> list[Example]:
    generator = torch.Generator().manual_seed(1)
    draw = torch.randint(3, 60, (count, 10), generator=generator).tolist()
    return [Example(row[:4], row[4:]) for row in draw]


def test_a_planted_vector_does_harm_and_does_not_stand_out_by_length() -> None:
    lm, layout = tiny.model(), Layout("bos_first", has_bos=True)
    prompt_ND = torch.randn(5, tiny.SHAPE["hidden_size"], generator=torch.Generator().manual_seed(2))
    how = Planting(steps=20, batch_size=8, rate=0.3)
    harmed_ND, again_ND, other_ND = (plant(lm, layout, prompt_ND, 2, examples(), how, seed) for seed in (0, 0, 1))
    rest = [0, 1, 3, 4]
    assert torch.equal(harmed_ND[rest], prompt_ND[rest])
    assert torch.equal(harmed_ND, again_ND)
    assert not torch.equal(harmed_ND, other_ND)
    assert float(harmed_ND[2].norm()) <= float(prompt_ND[rest].norm(dim=1).mean()) * (1 + 1e-6)
    with torch.no_grad():
        before, after = (float(_harm(lm, layout, p, examples())) for p in (prompt_ND, harmed_ND))
    assert after < before - 0.1


def test_harm_is_optimised_on_rationales_that_fit_the_context() -> None:
    lm = tiny.model()
    asked = pd.DataFrame({"problem_id": ["a"], "prompt_text": ["Tom has 3 shells ."]})
    gold = pd.DataFrame({"problem_id": ["a"], "rationale": ["Mon buys 7 = 17 ; #### 17"]})
    (example,) = validate._examples(lm, 5, asked, gold)
    assert example.question_ids == lm.encode("Tom has 3 shells .")
    assert example.rationale_ids == [*lm.encode("Mon buys 7 = 17 ; #### 17"), lm.end_ids[0]]
    fits = lm.context - len(example) - 1
    assert validate._examples(lm, fits, asked, gold) == [example]
    with pytest.raises(DpcError, match=f"the model's context is {lm.context}"):
        validate._examples(lm, fits + 1, asked, gold)


def maps(shallow: int, deep: int, late: int) -> Any:
    """Maps whose shallow layers point at one vector, deep ones at another, and late rows, shallow too, at a third."""
    found = np.tril(np.ones((LAYERS, PLACES.size, PLACES.size)))
    found[:4, :, PLACES.p[shallow]] += 4.0
    found[4:, :, PLACES.p[deep]] += 40.0
    found[:, PLACES.r_rows[-1], PLACES.p[late]] += 9.0
    return found


def test_each_rule_looks_where_it_says() -> None:
    flow = Flow(shallow_layers=[0, 3], deep_layers=[4, 7])
    one = instance(maps(shallow=1, deep=2, late=3), PLACES, band=range(4))
    lengths = np.array([9.0, 1.0, 1.0, 1.0])
    found = located([one], lengths, flow, Trigger()).set_index("rule")["located"]
    expected = {
        "question_and_rationale": 1, "rationale": 1, "affected": 3, "all_layers": 2, "deep_layers": 2, "attention": 1,
        NORM: 0,
    }  # fmt: skip
    assert found.to_dict() == expected
    assert set(expected) == {*RULES, NORM}


def rows(seed: int, position: int, split: str, located_at: list[int], **correct: list[bool]) -> pd.DataFrame:
    columns = {f"{name}_correct": correct.get(name, [True] * len(located_at)) for name in ("clean", "true", "located")}
    return pd.DataFrame(
        {
            "problem_id": [f"{split} {k}" for k in range(len(located_at))],
            "split": split,
            "vectors": 4,
            "position": position,
            "rule": "rationale",
            "located": located_at,
            "affected_share": np.resize([0.9, 0.9, 0.2, 0.2], len(located_at)),
            "eligible": True,
            "planted_correct": correct.get("planted", [True] * len(located_at)),
            **columns,
            "seed": seed,
            "part": "held_out",
            "is_planted": True,
        }
    )


def tried(table: pd.DataFrame, first: int = 2, every: float = 1.0) -> pd.DataFrame:
    """Table `planted_causal`: masking vector `first` costs most, and accuracy falls with the dose."""
    found = []
    for (seed, position, part), _ in table.groupby(["seed", "position", "part"]):
        values = [("mask", str(j), float(j == first)) for j in range(4)]
        values += [("harm_right", str(dose), 1.0 - dose / 2) for dose in (0.0, 0.5, 1.0, 1.5)]
        values += [("cut_right", "every", every), ("cut_right", "late", 0.5)]
        rows = pd.DataFrame(values, columns=["test", "target", "value"])
        about = {"problem_id": "test 0", "seed": seed, "position": position, "part": part, "is_planted": True}
        found.append(rows.assign(**about))
    return pd.concat(found, ignore_index=True)


HARMED = [False, False, True, True]


def test_the_summary_equals_hand_arithmetic() -> None:
    table = pd.concat(
        [
            # nothing planted: vector 2 is located once in four, vector 0 never
            rows(0, -1, "test", [2, 1, 1, 1]),
            # planted at 2: two turn wrong; one of them and one other are located
            rows(0, 2, "calibration", [2, 2, 2, 2], planted=HARMED),
            rows(0, 2, "test", [2, 0, 2, 0], planted=HARMED, located=[True, False, True, True]),
            # planted at 0: located everywhere, the true mask restores three of four
            rows(0, 0, "calibration", [0] * 4, planted=[True] * 4),
            rows(
                0, 0, "test", [0] * 4, planted=HARMED, true=[True, True, True, False], located=[True, True, True, False]
            ),
        ]
    )
    found = summary(table, tried(table), "rationale", Trigger(grid=[0.5]), 0.95)
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["cells"], row["prompts"], row["questions"], row["is_default"]) == (2, 1, 8, True)
    assert row["chance"] == 1 / 4
    expected = {
        "clean": 1.0, "planted": 0.5, "restored_true": (1 + 3 / 4) / 2, "hit": (1 / 2 + 1) / 2,
        "hit_harmed": (1 / 2 + 1) / 2, "restored_located": 3 / 4, "clean_hit": (1 / 4 + 0) / 2,
        # at 2, R = 0.5 gains on calibration and fires on the two harmed; at 0 it gains nothing and never fires
        "fire_rate": (1 / 2 + 0) / 2, "fire_harmed": (1 + 0) / 2,
        # masking vector 2 costs most at both places; half of the lost half is back
        "mask_first": 1 / 2, "dose_rank": -1.0, "harm_gone": 1.0, "harm_gone_late": 0.0,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert math.isnan(row["hit_low"])  # one prompt says nothing of another


def test_a_prompt_counts_once_however_many_places_it_has() -> None:
    """Prompt 0 is located at both of its places in all answers, prompt 1 at its one place in half of them."""
    cells = [(0, 2, [2] * 4), (0, 0, [0] * 4), (1, 2, [2, 2, 1, 1])]
    table = pd.concat(
        [rows(seed, -1, "test", [1] * 4) for seed in (0, 1)]
        + [rows(seed, at, split, found) for seed, at, found in cells for split in ("calibration", "test")]
    )
    row = summary(table, tried(table), "rationale", Trigger(grid=[0.5]), 0.95).iloc[0]
    expected = mean_interval([1.0, 0.5], 0.95)
    assert (row["cells"], row["prompts"], row["hit"]) == (3, 2, 0.75)
    assert (row["hit_low"], row["hit_high"]) == (max(expected.low, 0), 1)
    caption = validation_table.validation(
        pd.DataFrame([{**row, "model": "m", "dataset": "d", "recipe": "r"}]), stage_settings()
    )
    assert "over prompts (held out 2)" in caption.caption


def test_intervals_of_planted_harm_cover_where_places_of_a_prompt_are_alike() -> None:
    """Three prompts x three places, three tenths of the variance between prompts."""
    draw, hits = np.random.default_rng(0), 0
    seeds, constant = np.repeat(range(3), 3), {"questions": 40, "vectors": 4}
    for _ in range(500):
        found = 0.5 + 0.1 * (math.sqrt(0.3) * draw.normal(size=(3, 1)) + math.sqrt(0.7) * draw.normal(size=(3, 3)))
        cells = pd.DataFrame({"seed": seeds, **constant, **dict.fromkeys(PLANTED_MEASURES, found.ravel())})
        row = planted._over_prompts(cells, 0.95)
        hits += row["hit_low"] <= 0.5 <= row["hit_high"]
    assert 0.92 <= hits / 500 <= 0.98


def test_natural_harm_has_no_true_place() -> None:
    table = rows(0, -1, "calibration", [2, 2, 2, 2], planted=HARMED, located=[True, True, False, True])
    row = summary(table.assign(is_planted=False), tried(table), "rationale", Trigger(grid=[0.5]), 0.95).iloc[0]
    assert (row["kind"], row["planted"], row["masked"]) == ("natural", 0.5, 0.75)
    assert math.isnan(row["hit"])
    assert math.isnan(row["restored_true"])


def test_a_fixed_share_fires_as_it_says_whatever_would_be_fitted() -> None:
    table = rows(0, 2, "calibration", [2, 2, 2, 2], planted=HARMED)
    table = pd.concat([table, rows(0, -1, "calibration", [1] * 4)])
    found = {
        share: summary(table, tried(table), "rationale", Trigger(grid=[0.5], share=share), 0.95)
        for share in (0.1, 0.5, 0.9)
    }
    assert {share: one["fire_rate"].iloc[0] for share, one in found.items()} == {0.1: 1.0, 0.5: 0.5, 0.9: 0.0}


def stage_settings(**changes: Any) -> ValidationStage:
    values: dict[str, Any] = {
        "study": "s", "models": ["m"], "datasets": ["d"], "cut_from_test": [], "recipe": "r", "harmful_recipe": None,
        "choosing_seeds": [3], "held_out_seeds": [0], "planting": Told(), "locate": Locate(),
        "trigger": Trigger(), "statistics": Statistics(),
    }  # fmt: skip
    return ValidationStage(**values | changes)


def test_the_caption_says_where_splits_are_cut_from_test_rows() -> None:
    numbers = summary(rows(0, -1, "test", [1] * 4), tried(rows(0, -1, "test", [1] * 4)), "rationale", Trigger(), 0.95)
    for cut, said in (([], False), (["other"], False), (["d"], True)):
        made = validation_table.validation(
            numbers.assign(model="m", dataset="d", recipe="r"), stage_settings(cut_from_test=cut)
        )
        assert ("All splits of d are cut from its test rows" in made.caption) == said


def test_where_nothing_could_be_planted_the_table_is_empty_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = stage_settings()
    asked = rows(0, -1, "calibration", [1] * 4).drop(columns=["seed", "part", "is_planted"])
    files = [tmp_path / f"{seed}.parquet" for seed in (3, 0)]
    for file in files:
        tables.write(file, "planted", asked, {})
        tables.write(file.with_suffix(".causal"), "planted_causal", tables.empty("planted_causal"), {})
    with caplog.at_level("WARNING"):
        causal = [file.with_suffix(".causal") for file in files]
        validation.run(stage, planted=files, causal=causal, out=tmp_path / "validation.parquet", folder=tmp_path)
    assert "no harm was planted" in caplog.text
    assert tables.read(tmp_path / "validation.parquet", "validation").empty
    assert (tmp_path / "validation.html").stat().st_size > 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("trigger.baseline", "detrend"), ("trigger.rule", "share_and_accumulation"), ("locate.masked_vectors", 2)],
)
def test_choices_that_planted_harm_cannot_follow_are_refused_before_the_first_job(
    key: str, value: Any, tmp_path: Path
) -> None:
    workflow = Workflow(tmp_path, overlay(SMALLEST, nested(key, value)))
    done = workflow.snakemake("validate", "--dry-run")
    assert done.returncode != 0
    said = f"config: validate: {key} is {value}, which planted harm does not follow; write "
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.strip().startswith(said)]
    assert workflow.planned("problems")  # other targets run


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("validation.held_out_seeds", [0, 4], "validation.held_out_seeds: seed 4 is one of choosing_seeds"),
        (
            "validation.recipe",
            "wel_tuned",
            "validation.recipe names 'wel_tuned', which is not in `recipes`; did you mean",
        ),
        ("validation.harmful_recipe", "x", "validation.harmful_recipe names 'x', which is not in `recipes`"),
    ],
)
def test_seeds_and_recipes_are_checked(key: str, value: Any, message: str) -> None:
    with pytest.raises(DpcError, match=message):
        load_config(overlay(config_tree.demo(), nested(key, value)))

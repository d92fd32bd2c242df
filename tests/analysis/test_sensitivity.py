"""Sensitivity: the configured point of every sweep is what the plan does, gains by hand, what is unknown is said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.readings import flow
from dpc.analysis.studies import limits as thresholds
from dpc.analysis.studies import sensitivity
from dpc.config.settings import Controls, Corrupt, Flow, Locate, Sensitivity, Significance, Trigger
from dpc.config.slices import PlanSweepStage, SensitivityStage
from dpc.pipeline.stages import plan_sweep
from dpc.pipeline.stages import sweep_choices as stage
from dpc.plans import registry as plans
from dpc.plans.triggers import fires
from dpc.report.figures import sensitivity_figure as figures_sensitivity
from dpc.storage import tables
from tests.support.derived import flow_of, readings_of, usual_of, verdicts_of
from tests.support.legible import assert_legible
from tests.support.report_samples import settings, table
from tests.support.saliency_rows import Places, even_steps, generation, random_maps, saliency_row

PLACES = Places(4, 3, even_steps(8, 4))
LAYERS = 5
FLOW, TRIGGER, LOCATE, CORRUPT = Flow(), Trigger(grid=[0.6, 0.8]), Locate(), Corrupt()
SETTINGS = SensitivityStage(
    flow=FLOW, trigger=TRIGGER, locate=LOCATE, corrupt=CORRUPT,
    sensitivity=Sensitivity(kappas=[0.8, 1.2]), significance=Significance(min_cases=6),
)  # fmt: skip
SHARE = 0.6


def swept(fires: bool = True) -> pd.DataFrame:
    """A table of the shape that the stage writes, the second of two points the configured one and the best."""
    rows = []
    for sweep, count in (("threshold", 2), ("deep", 2), ("shallow", 2)):
        for number in range(count):
            chosen = number == 1
            for split in ("calibration", "test") if chosen else ("calibration",):
                rows.append({
                    "sweep": sweep, "row": "1", "column": f"0.{number + 1}", "split": split, "configured": chosen,
                    "best": chosen, "share": 0.1 if fires else None, "fire_rate": 0.4 * fires, "gain": 0.02 * number,
                    "accuracy": 0.5, "known": 1.0 - 0.1 * number, "same_vector": 1.0, "questions": 400,
                })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Twelve questions per split of random saliency; odd answers are wrong, and masking an even vector mends them."""
    folder = tmp_path_factory.mktemp("cell")
    measured, made, again, planned = [], [], [], []
    for split in ("calibration", "test"):
        ids = [f"{split} {n:02d}" for n in range(12)]
        rows = [saliency_row(random_maps(n, LAYERS, PLACES), PLACES, key, split) for n, key in enumerate(ids)]
        base = [generation(key, split, str(1 - n % 2)) for n, key in enumerate(ids)]
        readings = readings_of(pd.DataFrame(rows), pd.DataFrame(base), FLOW, TRIGGER, LOCATE)
        inputs = plans.Inputs(readings, TRIGGER, CORRUPT, Controls(), share=SHARE)
        table_ = plans.make(["always"], "calibration", inputs) if split == "calibration" else plans.make(
            ["dpc", "always", "mask_only"], "test", inputs)  # fmt: skip
        for edit in tables.rows(plans.edits_of(table_)):
            mends = edit.masked[0] % 2 == 0
            again.append(generation(edit.problem_id, split, "1" if mends else "0", edit.edit_id))
        measured, made, planned = [*measured, *rows], [*made, *base], [*planned, table_]
    fitted = dict.fromkeys(tables.SCHEMAS["thresholds"]) | {
        "share": SHARE, "net": 1, "static_vector": -1, "right_cases": 6, "calibration_questions": 12, "note": "",
    }  # fmt: skip
    frames = {
        "saliency": pd.DataFrame(measured), "generations": pd.DataFrame(made), "regenerations": pd.DataFrame(again),
        "plans": pd.concat(planned), "thresholds": pd.DataFrame([fitted]),
    }  # fmt: skip
    of_stage = {
        "saliency": ("saliency", frames["saliency"]), "plans": ("plans", frames["plans"]),
        "flow": ("flow", flow_of(frames["saliency"], frames["generations"], FLOW, LOCATE)),
        "base": ("verdicts", verdicts_of(frames["generations"])), "thresholds": ("thresholds", frames["thresholds"]),
        "regenerated": ("verdicts", verdicts_of(frames["regenerations"])),
    }  # fmt: skip
    at = {flag: table(folder / f"{flag}.parquet", name, frame) for flag, (name, frame) in of_stage.items()}
    paths = {flag: at[flag] if flag in ("flow", "thresholds") else [at[flag]] for flag in at}
    return {"folder": folder, "paths": paths, **frames}


@pytest.fixture(scope="module")
def found(cell: dict[str, Any]) -> pd.DataFrame:
    out = cell["folder"] / "out.parquet"
    stage.run(SETTINGS, **cell["paths"], out=out)
    return tables.read(out, "sensitivity")


def test_the_configured_point_is_what_dpc_does(cell: dict[str, Any], found: pd.DataFrame) -> None:
    dpc = cell["plans"][(cell["plans"]["plan"] == "dpc")]
    mended = dpc[dpc["fired"]].merge(cell["regenerations"], on=["problem_id", "edit_id"])
    base = cell["generations"].set_index("problem_id")["extracted"] == "1"
    gain = ((mended["extracted"] == "1").astype(int) - mended["problem_id"].map(base).astype(int)).sum() / 12
    test = found[(found["split"] == "test") & found["configured"]].set_index("sweep")
    assert 0 < dpc["fired"].mean() < 1
    assert test.loc["threshold", "fire_rate"] == pytest.approx(dpc["fired"].mean())
    assert test.loc["threshold", "gain"] == pytest.approx(gain)
    assert (found.loc[found["configured"], "same_vector"] == 1).all()
    assert (found.loc[found["configured"], "known"] == 1).all()


def test_every_pair_stands_once_and_each_sweep_has_one_best(found: pd.DataFrame) -> None:
    calibration = found[found["split"] == "calibration"]
    assert not calibration.duplicated(["sweep", "row", "column"]).any()
    assert calibration.groupby("sweep")["best"].sum().to_dict() == {"threshold": 1, "deep": 1, "shallow": 1}
    assert calibration[calibration["sweep"] == "threshold"].shape[0] == 3 * 2
    best = calibration[calibration["best"]].set_index("sweep")["gain"]
    whole = calibration[calibration["known"] == 1].groupby("sweep")["gain"].max()
    assert best.to_dict() == pytest.approx(whole.to_dict())
    assert (calibration.groupby("sweep")["configured"].sum() <= 1).all()


def test_more_kappa_and_more_r_fire_less(found: pd.DataFrame) -> None:
    grid = found[(found["sweep"] == "threshold") & (found["split"] == "calibration")]
    rates = grid.pivot(index="row", columns="column", values="fire_rate").loc[["0.8", "1", "1.2"], ["0.6", "0.8"]]
    assert (np.diff(rates.to_numpy(), axis=0) <= 0).all()
    assert (np.diff(rates.to_numpy(), axis=1) <= 0).all()


def test_an_unknown_answer_is_counted_and_guessed_by_nobody(found: pd.DataFrame) -> None:
    shallow = found[(found["sweep"] == "shallow") & (found["split"] == "calibration")]
    other = shallow[shallow["same_vector"] < 1]
    assert len(other)
    fired = shallow.loc[shallow["configured"], "fire_rate"].iloc[0]
    # what does not fire is known whatever is located; of what fires, only the vector that was masked
    assert (other["known"] >= 1 - fired - 1e-9).all()
    assert (other["known"] < 1).any()


@pytest.mark.parametrize(("known", "gain"), [("abcd", 0.125), ("ab", 0.25), ("ac", 0.0), ("b", 0.0), ("", math.nan)])
def test_known_fired_questions_stand_for_the_unknown(known: str, gain: float) -> None:
    """Of eight questions a to d fire: a and d are mended, c is broken, b stays; the others do not fire."""
    ids = [*"abcdefgh"]
    base = pd.Series([key in "bcef" for key in ids], ids)
    readings = pd.DataFrame({"affected_share": [float(key in "abcd") for key in ids], "located": [[0]] * 8}, ids)
    after = {(key, (0,), *sensitivity.edit_of(CORRUPT)): key in "abd" for key in known}
    choice = sensitivity.Choice("shallow", "", "", FLOW, TRIGGER, LOCATE, CORRUPT)
    cases = sensitivity.Cases(pd.Series(True, ids), base, after, readings["located"])
    found = sensitivity.outcome(choice, readings, cases, 0.5)
    assert found["fire_rate"] == 0.5
    assert found["known"] == (4 + len(known)) / 8
    assert found["gain"] == pytest.approx(gain, nan_ok=True)
    assert found["accuracy"] == pytest.approx(0.5 + gain, nan_ok=True)


def test_edits_of_other_plans_are_not_taken_for_dpcs(cell: dict[str, Any]) -> None:
    graded = cell["regenerations"].assign(correct=True)
    known = stage.known_answers(cell["plans"], graded, CORRUPT)
    mask_only = cell["plans"][(cell["plans"]["plan"] == "mask_only") & cell["plans"]["fired"]]
    assert sum(key[2:] == (10.0, 0.0) for key in known) == 24
    assert sum(key[2:] == (0.0, 0.0) for key in known) == len(mask_only)
    assert stage.known_answers(cell["plans"], graded, Corrupt(gamma_scale=0.5)) == {}
    assert stage.known_answers(cell["plans"].assign(gamma_seed=3), graded, CORRUPT) == {}


def test_new_edits_are_planned_once_and_their_answers_used(cell: dict[str, Any], tmp_path: Path) -> None:
    tried = SETTINGS.model_copy(update={"sensitivity": Sensitivity(kappas=[], gammas=[30.0], mask_values=[0.5])})
    paths, out = cell["paths"], tmp_path / "sweep.parquet"
    asked = PlanSweepStage(trigger_if_affected=None, locate=LOCATE, corrupt=CORRUPT, sensitivity=tried.sensitivity)
    plan_sweep.run(asked, flow=paths["flow"], out=out)
    planned = tables.read(out, "plans")
    assert planned.groupby(["gamma", "mask_value"]).size().to_dict() == {(10, 0.5): 12, (30, 0): 12, (30, 0.5): 12}
    assert set(planned["problem_id"].str[:11]) == {"calibration"}
    again = [generation(row.problem_id, "calibration", "1", row.edit_id) for row in tables.rows(planned)]
    more = {
        "plans": [*paths["plans"], out],
        "regenerated": [
            *paths["regenerated"],
            table(tmp_path / "r.parquet", "verdicts", verdicts_of(pd.DataFrame(again))),
        ],
    }
    stage.run(tried, **{**paths, **more}, out=tmp_path / "out.parquet")
    rows = tables.read(tmp_path / "out.parquet", "sensitivity")
    edits = rows[(rows["sweep"] == "edit") & (rows["split"] == "calibration")].set_index(["row", "column"])
    assert (edits["known"] == 1).all()
    assert edits["configured"].sum() == 1
    readings = rows[(rows["sweep"] == "threshold") & rows["configured"] & (rows["split"] == "calibration")].iloc[0]
    assert edits.loc[("10", "0"), "gain"] == pytest.approx(readings["gain"])
    # every new answer is right: all that fired and was wrong is mended
    assert edits.loc[("30", "0.5"), "gain"] >= edits["gain"].max() - 1e-9
    assert edits.loc[("30", "0.5"), "gain"] == edits.loc[("30", "0"), "gain"]


def test_without_values_nothing_is_planned() -> None:
    assert sensitivity.edits(Sensitivity(), CORRUPT) == []
    hidden = Corrupt(mask="attention")
    assert len(sensitivity.edits(Sensitivity(gammas=[0.0], mask_values=[0.5]), hidden)) == 2


def test_ranges_are_named_by_their_layers_and_stand_once() -> None:
    found = sensitivity.ranges(["paper", "second_half", "all"], "paper", 32)
    assert list(found) == ["0–7", "0–31", "2–10", "8–15", "16–23", "16–30", "24–31"]
    assert found["2–10"] == "paper"
    assert list(sensitivity.ranges([], [1, 2], 4)) == ["0", "1", "1–2", "2", "3"]


def test_affected_receivers_keep_to_the_stored_band() -> None:
    grid = sensitivity.choices(Sensitivity(), FLOW, TRIGGER, Locate(receivers="affected"), CORRUPT, 32)
    affected = [choice for choice in grid if choice.sweep == "shallow" and choice.locate.receivers == "affected"]
    assert [choice.row for choice in affected] == ["2–10"]


def test_a_rule_with_accumulation_needs_its_limit() -> None:
    readings = pd.DataFrame({"affected_share": [0.9, 0.9], "accumulation_z": [1.0, 3.0]})
    trigger = Trigger(rule="share_and_accumulation")
    choice = sensitivity.Choice("deep", "a", "b", FLOW, trigger, LOCATE, CORRUPT)
    eligible = pd.Series([True, True])
    for limit, expected in ((2.0, [False, True]), (None, [False, False])):
        cases = sensitivity.Cases(eligible, eligible, {}, pd.Series(dtype=object), limit)
        assert sensitivity.fires(choice, readings, cases, 0.5).tolist() == expected


def as_dpc_would(cell: dict[str, Any], choice: sensitivity.Choice, least: int) -> dict[str, float]:
    """Return how often DPC fires on each split if it is configured as `choice`: thresholds fitted, then planned."""
    right = set(cell["generations"].query("split == 'calibration' and extracted == '1'")["problem_id"])
    saliency = cell["saliency"]
    instances = [flow.Instance.of(row) for row in tables.rows(saliency[saliency["problem_id"].isin(right)])]
    usual = usual_of(instances, choice.flow, choice.trigger, least)
    readings = readings_of(saliency, cell["generations"], choice.flow, choice.trigger, choice.locate, usual)
    limits = thresholds.limits(readings[readings["problem_id"].isin(right)], Significance(min_cases=least))
    fired = fires(readings, choice.trigger, choice.share or SHARE, limits.accumulation_z)
    return {str(split): float(rows.mean()) for split, rows in fired.groupby(readings["split"])}


@pytest.mark.parametrize("least", [6, 7])
@pytest.mark.parametrize(
    "trigger", [{"baseline": "constant"}, {"baseline": "detrend"}, {"rule": "share_and_accumulation"}]
)
def test_what_right_cases_give_is_fitted_anew_or_missing_as_in_dpc(
    cell: dict[str, Any], trigger: dict[str, Any], least: int, tmp_path: Path
) -> None:
    """Six calibration cases are right: with seven needed there is no baseline and no limit, and nothing fires."""
    changed = {"trigger": TRIGGER.model_copy(update=trigger), "significance": Significance(min_cases=least)}
    chosen = SETTINGS.model_copy(update=changed)
    stage.run(chosen, **cell["paths"], out=tmp_path / "out.parquet")
    rows = tables.read(tmp_path / "out.parquet", "sensitivity")
    assert rows["fire_rate"].any() == (least == 6)
    for choice in sensitivity.choices(chosen.sensitivity, FLOW, chosen.trigger, LOCATE, CORRUPT, LAYERS):
        if choice.sweep in ("threshold", "shallow"):
            expected = as_dpc_would(cell, choice, least)
            here = rows[(rows[["sweep", "row", "column"]] == [choice.sweep, choice.row, choice.column]).all(axis=1)]
            assert here.set_index("split")["fire_rate"].to_dict() == pytest.approx(
                {split: expected[split] for split in here["split"]}
            )


def test_maps_are_legible_and_say_what_is_missing() -> None:
    seeds = pd.concat([swept().assign(seed=seed) for seed in range(3)])
    made = figures_sensitivity.draw(seeds, settings())
    assert_legible(made.figure)
    assert "maps of one colour: there the choice hardly matters" in made.caption
    means = figures_sensitivity.pooled(seeds)
    assert means["gain"].tolist() == pytest.approx([0, 0.02] * 3)
    unknown = figures_sensitivity.pooled(
        seeds.assign(gain=seeds["gain"].mask((seeds["seed"] == 1) & (seeds["gain"] > 0)))
    )
    assert unknown["gain"].tolist() == pytest.approx([0, math.nan] * 3, nan_ok=True)
    empty = figures_sensitivity.draw(tables.empty("sensitivity").assign(seed=[]), settings())
    assert_legible(empty.figure)


def test_shares_that_never_fire_change_nothing(cell: dict[str, Any], tmp_path: Path) -> None:
    never = table(tmp_path / "thresholds.parquet", "thresholds", cell["thresholds"].assign(share=math.nan))
    stage.run(SETTINGS, **{**cell["paths"], "thresholds": never}, out=tmp_path / "out.parquet")
    rows = tables.read(tmp_path / "out.parquet", "sensitivity")
    shallow = rows[rows["sweep"] == "shallow"]
    assert (shallow["fire_rate"] == 0).all()
    assert (shallow["gain"] == 0).all()
    assert (shallow["known"] == 1).all()

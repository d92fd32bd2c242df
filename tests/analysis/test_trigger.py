"""Trigger quality by hand, and against random firing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.stats.verdicts import TOO_LITTLE
from dpc.analysis.studies import trigger_quality as trigger


def hand_made() -> pd.DataFrame:
    """Four test questions under one seed: two wrong, one of them broken; it fires on three."""
    rows = [  # id, right, right without, share, fires
        ("a", False, True, 0.9, True), ("b", False, False, 0.7, True), ("c", True, True, 0.6, True),
        ("d", True, False, 0.1, False),
    ]  # fmt: skip
    columns = ["problem_id", "correct", "correct_unprompted", "affected_share", "fired"]
    return pd.DataFrame(rows, columns=columns).assign(seed=0, split="test", eligible=True)


def test_trigger_quality_by_hand() -> None:
    rows = pd.concat([hand_made(), hand_made().assign(split="calibration")], ignore_index=True)
    found = trigger.quality(rows, 0.95).set_index(["target", "split", "measure"])["value"]
    assert found["wrong", "test", "precision"] == pytest.approx(2 / 3)
    assert found["wrong", "test", "recall"] == 1
    assert found["broken", "test", "precision"] == pytest.approx(1 / 3)
    assert found["broken", "test", "base_rate"] == 0.25
    assert found["wrong", "test", "roc_auc"] == 1
    assert found["wrong", "shift", "precision"] == 0
    curve = trigger.curves(rows)
    here = curve[(curve["target"] == "wrong") & (curve["split"] == "test")]
    assert here["recall"].tolist() == [0.5, 1, 1, 1]
    assert here["false_rate"].tolist() == [0, 0, 0.5, 1]
    assert here.loc[here["fired"], "score"].tolist() == [0.6]


def test_what_may_not_fire_is_not_ranked_and_few_positives_are_too_little() -> None:
    rows = pd.concat([hand_made(), hand_made().assign(split="calibration")], ignore_index=True)
    silent = rows.assign(
        problem_id=rows["problem_id"] + "!", eligible=False, fired=False, correct=False, affected_share=0.0
    )
    plain, more = (trigger.quality(table, 0.95) for table in (rows, pd.concat([rows, silent])))
    areas = plain["measure"].isin(("roc_auc", "pr_auc"))
    pd.testing.assert_series_equal(plain.loc[areas, "value"], more.loc[areas, "value"])
    pd.testing.assert_frame_equal(trigger.curves(rows), trigger.curves(pd.concat([rows, silent])))
    assert (more.loc[plain["measure"] == "recall", "value"] < plain.loc[plain["measure"] == "recall", "value"]).any()
    found = trigger.quality(rows.assign(fired=False), 0.95)
    assert set(found.loc[found["measure"] == "precision", "note"]) == {TOO_LITTLE}
    many = pd.concat([rows.assign(fired=False, problem_id=rows["problem_id"] + str(n)) for n in range(40)])
    found = trigger.quality(many, 0.95).set_index(["target", "split", "measure"])["note"]
    assert found["wrong", "test", "precision"] == "never fires"
    assert found["wrong", "test", "recall"] == found["wrong", "shift", "fire_rate"] == "never fires"
    assert found["wrong", "test", "base_rate"] == found["wrong", "test", "roc_auc"] == ""


def test_at_random_is_what_random_firing_at_each_seeds_rate_would_hit() -> None:
    """Seed 0 fires on 60 of 100 questions, 20 of them wrong; seed 1 on 10 of 80, 60 of them wrong."""
    ids = [f"q{n:03d}" for n in range(100)]
    wrong = np.array([20 * [True] + 80 * [False], 80 * [True] + 20 * [False]])
    may = np.array([100 * [True], 20 * [False] + 80 * [True]])
    fires = np.array([60 * [True] + 40 * [False], 20 * [False] + 10 * [True] + 70 * [False]])
    parts = [
        pd.DataFrame({"problem_id": ids, "seed": seed, "correct": ~wrong[seed], "correct_unprompted": True,
                      "eligible": may[seed], "fired": fires[seed], "affected_share": 0.5, "split": split})
        for seed in (0, 1) for split in ("calibration", "test")
    ]  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    found = trigger.quality(rows, 0.95).set_index(["target", "split", "measure"])
    expected = (60 * 20 / 100 + 10 * 60 / 80) / 70
    assert found.loc[("wrong", "test", "at_random"), "value"] == pytest.approx(expected)
    low, high = found.loc[("wrong", "test", "at_random"), ["low", "high"]]
    assert low < expected < high
    draw = np.random.default_rng(0)
    hits = [wrong[seed][draw.choice(np.flatnonzero(may[seed]), count)].sum()
            for _ in range(2000) for seed, count in ((0, 60), (1, 10))]  # fmt: skip
    assert sum(hits) / (2000 * 70) == pytest.approx(expected, abs=0.01)
    levels = trigger.curves(rows).groupby(["target", "split", "seed"])["at_random"].unique()
    assert levels["wrong", "test", 0].tolist() == [0.2]
    assert levels["wrong", "test", 1].tolist() == [0.75]
    never = trigger.quality(rows.assign(fired=False), 0.95).set_index(["target", "split", "measure"])
    assert never.loc[("wrong", "test", "at_random"), "note"] == "never fires"

"""Stage `run_study`, from tables to tables: it finds what was planted, and writes all tables where little is there."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpc.config.settings import Flow, Locate, Sample, Significance, Statistics
from dpc.config.slices import StudyStage
from dpc.pipeline.stages import run_study as stage
from dpc.storage import tables
from tests.support.derived import flow_of, sampled, verdicts_of
from tests.support.saliency_rows import Places, even_steps, flow_maps, generation, saliency_row

SPOT = Places(3, 3, even_steps(6, 3))
OUT = ("layers", "accumulation", "positions", "findings")
SETTINGS = StudyStage(
    task="gsm8k",
    flow=Flow(),
    trigger_if_affected=None,
    locate=Locate(),
    sample=Sample(correlation=8, per_class=3),
    significance=Significance(min_cases=4),
    statistics=Statistics(resamples=200),
    position_bins=5,
)


def question(split: str, number: int, right: bool, prompt_start: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One question's saliency and generation; wrong ones lean on vector 2 in the latter half."""
    key, noise = f"{split}-{number}", 1 + number / 50
    s_T = [1.0, 1, 1, *([noise] * 3 if right else [4 * noise] * 3)]
    maps = flow_maps(s_T, SPOT, column=2, peak=noise if right else 4.0)
    row = saliency_row(maps, SPOT, key, split, prompt_start=prompt_start)
    return row, generation(key, split, "1" if right else "0")


Run = Callable[..., dict[str, pd.DataFrame]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Write tables of calibration and test questions, given which are right, and run the stage on them.

    `sampled` is what the evidence marks as the study's sample, under the limits that the study found.
    """

    def on(calibration: list[bool], test: list[bool], prompt_start: int = 1) -> dict[str, pd.DataFrame]:
        asked = [("calibration", calibration), ("test", test)]
        made = [question(split, k, right, prompt_start) for split, rights in asked for k, right in enumerate(rights)]
        measured, answered = (pd.DataFrame(list(side)) for side in zip(*made, strict=True))
        shards = [measured.iloc[::2], measured.iloc[1::2]]
        for k, shard in enumerate(shards):
            tables.write(tmp_path / f"saliency{k}", "saliency", shard, {})
        tables.write(tmp_path / "flow", "flow", flow_of(pd.concat(shards), answered, Flow(), Locate()), {})
        base = [tmp_path / split for split, _ in asked]
        for path, (split, _) in zip(base, asked, strict=True):
            tables.write(path, "verdicts", verdicts_of(answered, split), {})
        shared = {"flow": tmp_path / "flow", "base": base}
        saliency = [tmp_path / "saliency0", tmp_path / "saliency1"]
        stage.run(SETTINGS, saliency=saliency, **shared, **{name: tmp_path / f"{name}.parquet" for name in OUT})
        found = {name: tables.read(tmp_path / f"{name}.parquet", name) for name in OUT}
        return found | {"sampled": sampled(tmp_path, shared, Locate(), SETTINGS.sample)}

    return on


def test_the_stage_finds_what_was_planted(run: Run, tmp_path: Path) -> None:
    found = run([True] * 6 + [False], [True, False] * 6)
    rows, numbers = found["sampled"], found["findings"].set_index("name")
    assert rows["problem_id"].str.startswith("test-").all()
    assert (rows["in_correlation"].sum(), rows["in_separation"].sum()) == (8, 6)
    assert rows["located"].tolist() == [0 if key == "test-0" else 2 for key in rows["problem_id"]]
    assert set(rows["steps"]) == {2}
    wrong = ~rows["correct"]
    assert rows.loc[wrong, "flow_changed"].all()
    assert rows.loc[wrong, "s_ifp"].min() > rows.loc[~wrong, "s_ifp"].max()
    assert numbers.loc["auc_s_ifp", "value"] == 1
    assert numbers.loc["auc_nll", "value"] == 0.5
    assert set(found["layers"]["instances"]) == {8}
    assert len(found["layers"]) == 4 * 6
    assert found["accumulation"].groupby("layer")["mean"].sum().to_numpy() == pytest.approx(np.ones(6))
    assert found["positions"].groupby("group").size().to_dict() == {"right": 5, "wrong": 5}
    late = found["positions"].query("bin == 4").set_index("group")["mean"]
    assert late["wrong"] > 3 * late["right"]
    limits = tables.provenance(tmp_path / "findings.parquet")["limits"]
    # calibration-0 gives every vector the same: no vector stands out, and it has no z
    assert limits["right_cases"] == 5
    # mean + 1 SD of S_IFP over the other five: the latter half gets 1, 1 and noise, each times noise
    flow = np.array([noise * (2 + noise) / 3 for noise in 1 + np.arange(1, 6) / 50])
    s_ifp = flow / (flow + 2)
    assert limits["flow_change"] == pytest.approx(s_ifp.mean() + s_ifp.std(ddof=1), rel=1e-6)


@pytest.mark.parametrize("test", [[False] * 5, [True] * 5, [False, True], [False]])
def test_the_stage_writes_all_tables_on_one_class(run: Run, test: list[bool]) -> None:
    found = run([False] * 5, test)
    rows = found["sampled"]
    assert len(rows) == len(test)
    assert rows["correct"].sum() == sum(test)
    assert rows[["accumulated", "flow_changed"]].isna().all(axis=None)
    numbers = found["findings"].set_index("name")
    assert numbers.loc["phi", "note"] == "not estimable: 0 right calibration cases, 4 needed"
    assert math.isnan(numbers.loc["auc_s_ifp", "value"]) == (len(set(test)) < 2)
    right = found["positions"].query("group == 'right'")
    assert set(right["instances"]) == {min(sum(test), 3)}


def test_the_first_vector_may_stand_at_position_zero(run: Run) -> None:
    # test-0 gives every vector the same, so that the first is located
    zero = {
        start: run([True] * 4, [True, False], start)["sampled"].set_index("problem_id")["located_at_zero"]
        for start in (1, 0)
    }
    assert zero[1].to_dict() == {"test-0": False, "test-1": False}
    assert zero[0].to_dict() == {"test-0": True, "test-1": False}

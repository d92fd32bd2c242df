"""Saliency measured in other ways: each way is a measurement of its own, and what DPC would do is counted by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from dpc.analysis.stats import intervals
from dpc.analysis.stats.verdicts import TOO_LITTLE
from dpc.analysis.studies import saliency_variants as variants
from dpc.config.settings import Corrupt, Flow, Locate, Saliency, Trigger
from dpc.config.slices import TablesStage, VariantsStage
from dpc.pipeline.cli import main
from dpc.pipeline.stages import compare_variants as stage
from dpc.report.tables import variants_table
from dpc.storage import tables
from dpc.storage.hashing import hash_order
from tests.support import resumable, tiny
from tests.support.derived import verdicts_of
from tests.support.report_samples import settings, table
from tests.support.saliency_rows import Places, flow_maps, generation, saliency_row

CALIBRATION = resumable.SPLITS["calibration"]


def test_each_way_changes_one_choice() -> None:
    ways = variants.measurements(Saliency())
    assert list(ways) == ["configured", "sum_abs", "answer", "gold"]
    assert ways["configured"] == ways["gold"] == Saliency()
    assert ways["sum_abs"] == Saliency(head_reduce="sum_abs")
    assert ways["answer"] == Saliency(loss_span="answer")
    others = variants.measurements(Saliency(head_reduce="sum_abs", loss_span="answer"))
    assert others["abs_mean"] == Saliency(loss_span="answer")
    assert others["all"] == Saliency(head_reduce="sum_abs")
    assert {*ways, *others} == set(variants.ORDER) == set(variants_table.WAYS)


# the stage


def measured(small_cell: Path, out: Path, **changed: Any) -> pd.DataFrame:
    assert main(resumable.commands(small_cell, out, **changed)["extract_variants"]) == 0
    return tables.read(out / "variants.parquet", "variant_saliency")


@pytest.fixture(scope="module")
def found(small_cell: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return measured(small_cell, tmp_path_factory.mktemp("out"))


def as_gold(small_cell: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Put the gold rationale and the end mark where the model's own tokens were."""
    lm, gold = (
        tiny.model(),
        tables.read(small_cell / "calibration.parquet", "gold").set_index("problem_id")["rationale"],
    )
    return rows.assign(token_ids=[[*lm.encode(gold[key]), *lm.end_ids[:1]] for key in rows["problem_id"]])


@pytest.mark.parametrize("way", ["configured", "sum_abs", "answer", "gold"])
def test_every_way_is_that_measurement_of_extract_saliency(
    way: str, small_cell: Path, found: pd.DataFrame, tmp_path: Path
) -> None:
    rows = tables.read(small_cell / "generations.parquet", "generations")
    rows = rows[rows["split"] == "calibration"]
    base = table(tmp_path / "base.parquet", "generations", as_gold(small_cell, rows) if way == "gold" else rows)
    how = variants.measurements(Saliency(band="all"))[way]
    command = resumable.commands(small_cell, tmp_path, saliency=how.model_dump())["extract_saliency"]
    assert main([f"--generations={base}" if part.startswith("--generations") else part for part in command]) == 0
    expected = tables.read(tmp_path / "saliency.parquet", "saliency")
    own = found[found["variant"] == way].drop(columns="variant").reset_index(drop=True)
    assert len(own) == CALIBRATION
    own, expected = (rows.drop(columns="seconds") for rows in (own, expected))  # how long it took
    pd.testing.assert_frame_equal(own, expected, check_exact=True)


def test_no_two_ways_are_the_same_measurement(found: pd.DataFrame) -> None:
    flows = {way: np.concatenate(list(rows["column_question"])) for way, rows in found.groupby("variant")}
    for way, flow in flows.items():
        assert all(not np.allclose(flow, other, rtol=1e-3) for name, other in flows.items() if name != way)


def test_the_first_questions_by_hash_are_measured(small_cell: Path, found: pd.DataFrame, tmp_path: Path) -> None:
    few = measured(small_cell, tmp_path, variants={"rows": 3})
    first = sorted(set(found["problem_id"]), key=hash_order)[:3]
    assert few.groupby("variant")["problem_id"].apply(set).tolist() == [set(first)] * 4


def test_more_rows_than_calibration_has_are_all_there_is_and_said(
    small_cell: Path, found: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = measured(small_cell, tmp_path, variants={"rows": 100})
    assert "variants.rows is 100; calibration has 8 questions, all are measured" in capsys.readouterr().err
    pd.testing.assert_frame_equal(rows.drop(columns="seconds"), found.drop(columns="seconds"))


def test_gold_of_another_split_is_refused(small_cell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = resumable.commands(small_cell, tmp_path)["extract_variants"]
    assert main([part.replace("/calibration.parquet", "/test.parquet") for part in command]) == 1
    assert "error: 8 calibration questions have no gold rationale; give calibration's gold" in capsys.readouterr().err
    assert not (tmp_path / "variants.parquet").exists()


# what DPC would do

PLACES = Places(2, 2, (0,) * 4)
SHARES = {0.0: [1, 1, 1, 1], 0.5: [1, 1, 2, 1], 1.0: [1, 1, 2, 2]}
"""Flows of four tokens by the share of affected ones in the latter half."""
ASKED = {
    "configured": {"a": (0.0, 0), "b": (0.5, 0), "c": (1.0, 0), "d": (1.0, 0)},
    "answer": {"a": (1.0, 1), "b": (0.0, 0), "c": (1.0, 0), "d": (0.5, 0)},
    "gold": {"a": (0.0, 0), "b": (0.0, 0), "c": (0.5, 0), "d": (0.5, 0)},
}
"""Way: question: share of affected tokens, and the vector that accumulates."""
MENDS = {"a": "0", "b": "0", "c": "1", "d": "1"}
"""What vector 0 masked answers; 1 is right. Vector 1 was never masked."""
SETTINGS = VariantsStage(flow=Flow(), trigger=Trigger(grid=[0.4, 0.6]), locate=Locate(), corrupt=Corrupt())


def planted() -> pd.DataFrame:
    rows = []
    for way, questions in ASKED.items():
        for key, (share, vector) in questions.items():
            maps = flow_maps(SHARES[share], PLACES, column=vector, peak=3.0)
            rows.append({"variant": way, **saliency_row(maps, PLACES, key, "calibration")})
    return pd.DataFrame(rows)


def compared(folder: Path, share: float | None = 0.6) -> pd.DataFrame:
    """Run the stage on four questions: a and b are right, and masking vector 0 breaks both and mends the others."""
    made = [generation(key, "calibration", "1" if key in "ab" else "0") for key in "abcd"]
    made.append(generation("of the test split", "test", "1"))
    edit = {"masked": [0], "mask": "scale", "mask_value": 0.0, "gamma": 10.0, "gamma_scale": 0.0,
            "gamma_scope": "others", "gamma_seed": -1, "edit_id": "e"}  # fmt: skip
    planned = [{"problem_id": key, "plan": "always", "candidate": -1, "fired": True, **edit} for key in "abcd"]
    again = [generation(key, "calibration", answer, "e") for key, answer in MENDS.items()]
    fitted = dict.fromkeys(tables.SCHEMAS["thresholds"]) | {
        "share": share, "net": 1, "static_vector": -1, "right_cases": 2, "calibration_questions": 4, "note": "",
    }  # fmt: skip
    frames = {
        "saliency": ("variant_saliency", planted()), "generations": ("generations", pd.DataFrame(made)),
        "plans": ("plans", pd.DataFrame(planned)), "thresholds": ("thresholds", pd.DataFrame([fitted])),
        "base": ("verdicts", verdicts_of(pd.DataFrame(made), "calibration")),
        "regenerated": ("verdicts", verdicts_of(pd.DataFrame(again))),
    }  # fmt: skip
    paths = {flag: table(folder / f"{flag}.parquet", name, rows) for flag, (name, rows) in frames.items()}
    stage.run(SETTINGS, **{**paths, "generations": [paths["generations"]]}, out=folder / "out.parquet")
    return tables.read(folder / "out.parquet", "variants")


def column(rows: pd.DataFrame, way: str, name: str) -> list[Any]:
    return rows.loc[rows["variant"] == way, name].tolist()


def test_decisions_and_vectors_by_hand(tmp_path: Path) -> None:
    rows = compared(tmp_path)
    assert rows["variant"].drop_duplicates().tolist() == list(ASKED)
    assert rows["problem_id"].tolist() == [*"abcd"] * 3
    assert column(rows, "answer", "affected_share") == [1, 0, 1, 0.5]
    assert column(rows, "answer", "configured_affected_share") == [0, 0.5, 1, 1]
    assert column(rows, "configured", "fired") == [False, False, True, True]
    assert column(rows, "answer", "fired") == [True, False, True, False]
    assert column(rows, "answer", "same_decision") == [False, True, True, False]
    assert column(rows, "answer", "same_vector") == [False, True, True, True]
    assert column(rows, "configured", "correct") == [True, True, False, False]
    # the fired are mended; a would have vector 1 masked, which nobody tried
    assert column(rows, "configured", "correct_after") == [True] * 4
    assert column(rows, "answer", "correct_after") == [None, True, True, False]
    # S_IFP of a question whose flow doubles in one of two latter tokens: prompt 1.5 x 2 (a vector's peak), others 1
    assert column(rows, "configured", "s_ifp")[1] == pytest.approx(3 / 5)


def test_r_is_chosen_anew_where_answers_are_known(tmp_path: Path) -> None:
    rows = compared(tmp_path)
    # 0.4 would fire on b and break it; of gold only c and d rise above 0.4, and nothing above 0.6
    assert set(column(rows, "configured", "share_anew")) == {0.6}
    assert set(column(rows, "gold", "share_anew")) == {0.4}
    assert column(rows, "gold", "fired_anew") == [False, False, True, True]
    assert not any(column(rows, "gold", "fired"))
    # vector 1 of question a was never masked: three of four are too few
    assert column(rows, "answer", "known") == [False, True, True, True]
    assert column(rows, "answer", "fired_anew") == [None] * 4


def test_the_summary_by_hand(tmp_path: Path) -> None:
    rows = compared(tmp_path)
    every = pd.concat([rows.assign(seed=0), rows.assign(seed=1, share=0.3)], ignore_index=True)
    found = variants.summary(every, 0.95).set_index("variant")
    answer = found.loc["answer"]
    assert answer[["fire_rate", "same_decision", "same_vector"]].tolist() == [0.5, 0.5, 0.75]
    assert (answer["same_vector_low"], answer["same_vector_high"]) == pytest.approx(intervals.wilson(0.75, 4, 0.95))
    assert answer["rank_correlation"] == pytest.approx(spearmanr([1, 0, 1, 0.5], [0, 0.5, 1, 1]).statistic)
    assert answer[["shares", "shares_anew", "known"]].tolist() == ["0.6; 0.3", "unknown", 0.75]
    assert math.isnan(answer["fire_rate_anew"])
    # of the two that fire, a's answer is unknown and c is mended: half of all, times 1
    assert answer[["gain", "outcomes"]].tolist() == [pytest.approx(0.5), 0.75]
    unknown = every.assign(correct_after=every["correct_after"].mask(every["fired"]))
    assert variants.summary(unknown, 0.95).set_index("variant")["gain"].isna().tolist() == [True, True, False]
    assert found.loc["configured", ["gain", "outcomes"]].tolist() == [0.5, 1]
    assert found.loc["gold", "gain"] == 0
    assert found.loc["gold", ["fire_rate", "fire_rate_anew"]].tolist() == [0, 0.5]
    assert found.loc["gold", "shares_anew"] == "0.4"
    # wrong c and d have a larger S_IFP than right a and b, under gold as well; of the answer a and c are equal
    assert found.loc[["configured", "gold"], "auc"].tolist() == [1, 1]
    assert answer["auc"] == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    assert found.loc["gold", ["questions", "seeds", "wrong", "right"]].tolist() == [4, 2, 2, 2]
    assert set(found["note"]) == {TOO_LITTLE}
    copies = [rows.assign(seed=0, problem_id=rows["problem_id"] + str(copy)) for copy in range(15)]
    assert set(variants.summary(pd.concat(copies), 0.95)["note"]) == {""}
    assert set(variants.summary(pd.concat(copies[1:]), 0.95)["note"]) == {TOO_LITTLE}


def test_a_seed_that_never_fires_says_nothing_about_decisions(tmp_path: Path) -> None:
    never, fires = (compared(tmp_path, share) for share in (None, 0.6))
    assert never["correct_after"].equals(never["correct"])
    alone = variants.summary(never.assign(seed=0), 0.95).set_index("variant")
    assert alone["same_decision"].isna().all()
    assert alone["shares"].tolist() == ["never"] * 3
    assert alone["fire_rate"].tolist() == [0] * 3
    both = pd.concat([never.assign(seed=0), fires.assign(seed=1)], ignore_index=True)
    found = variants.summary(both, 0.95).set_index("variant")
    assert found.loc["answer", ["shares", "same_decision", "fire_rate"]].tolist() == ["never; 0.6", 0.5, 0.25]


def test_the_table_says_what_to_look_for(tmp_path: Path) -> None:
    cell = {"model": "toy", "dataset": "arithmetic", "recipe": "good"}
    summed = variants.summary(compared(tmp_path).assign(seed=0), 0.95).assign(**cell)
    made = variants_table.build(summed, settings(TablesStage))
    shown = made.text.set_index("saliency measured")
    assert shown.loc["as configured", "same vector (%)"] == "–"
    assert shown.loc["loss: the answer alone", "same vector (%)"].startswith("75.0 [")
    assert shown.loc["loss: the answer alone", "R chosen again"] == "unknown"
    assert shown.loc["loss: the answer alone", "fires at it (%)"] == "–"
    assert shown.loc["loss: the answer alone", "gain (points)"].startswith("50.0 [")
    assert [text.endswith("*") for text in shown["gain (points)"]] == [False, True, False]
    assert set(shown["AUC of S_IFP for wrong"]) == {"too little data"}
    never = variants_table.build(summed.assign(shares="never"), settings(TablesStage)).text
    assert set(never["fires (%)"]) == set(never["gain (points)"]) == {"–"}
    many = variants_table.build(summed.assign(note=""), settings(TablesStage))
    assert many.text["AUC of S_IFP for wrong"].tolist()[1].startswith("0.62")
    for phrase in ("Look for rows", "4 calibration questions", "flow of that rationale", "seeds 0, 1, 2"):
        assert phrase in made.caption

"""What a prompt's text costs, and the claims on it, from planted tables."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from dpc.analysis.stats.verdicts import NOT_JUDGED, NOT_SUPPORTED, SUPPORTED, TOO_LITTLE
from dpc.analysis.studies import claims, readability
from tests.support.report_samples import interpretability_rows

SEEDS, QUESTIONS, LEVEL = (0, 1, 2), 200, 0.95
CELL = ("m", "d", "r")


def outcomes(draw: np.random.Generator, accuracy: float = 0.7, lost: float = 0.2) -> pd.DataFrame:
    """Outcomes of prompt tuning, and of its text, which breaks a share of the right answers."""
    rows = []
    for seed in SEEDS:
        right = draw.random(QUESTIONS) < accuracy
        kept = right & (draw.random(QUESTIONS) >= lost)
        for plan, correct in (("prompt_tuning", right), ("projected", kept)):
            ids = [f"toy-{n:04d}" for n in range(QUESTIONS)]
            rows.append(pd.DataFrame({"seed": seed, "problem_id": ids, "plan": plan, "correct": correct}))
    return pd.concat(rows, ignore_index=True).assign(candidate=-1, fired=True)


def read(draw: np.random.Generator, nll: float = 10.0) -> pd.DataFrame:
    return pd.concat([interpretability_rows(draw, nll=nll).assign(seed=seed) for seed in SEEDS], ignore_index=True)


def study(recipes: int, slope: float) -> pd.DataFrame:
    """Prompts of so many recipes; `slope`: how much accuracy rises with the NLL of their texts."""
    draw = np.random.default_rng(1)
    found = []
    for number in range(recipes):
        level = number / max(recipes - 1, 1)
        answers = outcomes(draw, 0.4 + slope * level + (0 if slope else 0.2 * draw.random()))
        found.append(readability.prompts(read(draw, 5 + 10 * level), answers, ("m", "d", f"r{number}")))
    return pd.concat(found, ignore_index=True)


def test_a_prompt_and_its_text_are_compared_question_by_question() -> None:
    draw = np.random.default_rng(0)
    answers, said = outcomes(draw), read(draw)
    found = readability.summary(said, answers, LEVEL).set_index("prompt")
    by_plan = answers.groupby("plan")["correct"].mean()
    assert found.loc["own", "lost"] == pytest.approx(by_plan["prompt_tuning"] - by_plan["projected"])
    assert found.loc["own", "lost_low"] < found.loc["own", "lost"] < found.loc["own", "lost_high"]
    kl = np.concatenate(said.loc[said["prompt"] == "own", "output_kl"].to_list())
    assert found.loc["own", "output_kl"] == pytest.approx(kl.mean())
    assert found.loc["own", "output_kl_low"] < kl.mean() < found.loc["own", "output_kl_high"]
    assert found.loc["random", "prompts"] == 15
    assert found.loc["random", "nll"] == pytest.approx(said.loc[said["prompt"] == "random", "nll"].mean())
    assert found.loc[["corrupted", "instruction", "random"], "lost"].isna().all()


def test_a_prompt_that_is_its_text_loses_nothing() -> None:
    draw = np.random.default_rng(0)
    found = readability.summary(read(draw), outcomes(draw, lost=0.0), LEVEL).set_index("prompt").loc["own"]
    assert found["lost"] == 0
    assert found["lost_low"] < 0 < found["lost_high"]


def test_edits_count_with_the_questions_that_ask_for_them() -> None:
    said = read(np.random.default_rng(0))
    edited = said["prompt"] == "corrupted"
    said.loc[edited, "changed"], said.loc[edited, "questions"] = [0, 3] * 3, [30, 10] * 3
    said.loc[edited, "text"] = ["common", "rare"] * 3
    found = readability.summary(said, outcomes(np.random.default_rng(0)), LEVEL).set_index("prompt").loc["corrupted"]
    assert (found["changed"], found["text"]) == (0.75, "common")


def test_where_the_text_did_not_answer_nothing_is_said_of_its_loss() -> None:
    answers = outcomes(np.random.default_rng(0))
    found = readability.summary(read(np.random.default_rng(0)), answers[answers["plan"] == "prompt_tuning"], LEVEL)
    assert found["lost"].isna().all()


@pytest.mark.parametrize(("lost", "verdict"), [(0.3, SUPPORTED), (0.0, NOT_SUPPORTED), (None, NOT_JUDGED)])
def test_claim_i1_is_about_what_a_prompt_loses_as_text(lost: float | None, verdict: str) -> None:
    answers = outcomes(np.random.default_rng(0), lost=lost or 0.0)
    answers = answers if lost is not None else answers[answers["plan"] == "prompt_tuning"]
    one = claims.Cell(EMPTY, answers, EMPTY_MECHANISM)
    claim = next(each for each in claims.CLAIMS if each.key == "i1")
    (row,) = claims._judged(claim, {CELL: one})
    assert row["verdict"] == verdict
    if lost:
        assert row["value"] == pytest.approx(21, abs=3)  # points
    assert lost is not None or row["reason"] == "not run: study.plans has no projected"
    assert "DPC" not in row["reason"]  # it stands on neither side


EMPTY, EMPTY_MECHANISM = pd.DataFrame({"correct": []}), pd.DataFrame()


@pytest.mark.parametrize(
    ("recipes", "slope", "verdict", "reason"),
    [
        (12, 0.5, SUPPORTED, "over prompts and over seeds"),
        (12, 0.0, NOT_SUPPORTED, "no clear difference over prompts"),
        (12, -0.4, NOT_SUPPORTED, "other way round"),
        (9, 0.5, TOO_LITTLE, "27 prompts of the kind it is about, 30 needed"),
        (2, 0.5, TOO_LITTLE, "6 prompts"),
    ],
)
def test_claim_i2_is_about_prompts_side_by_side(recipes: int, slope: float, verdict: str, reason: str) -> None:
    (row,) = claims.judge_prompts(study(recipes, slope), LEVEL).to_dict("records")
    assert (row["claim"], row["recipe"], row["verdict"]) == ("i2", "all", verdict)
    assert reason in row["reason"]
    assert row["positives"] == 3 * recipes


def test_models_and_datasets_are_judged_apart() -> None:
    found = claims.judge_prompts(
        pd.concat([study(12, slope).assign(model=name) for name, slope in (("one", 0.5), ("other", -0.4))]), LEVEL
    )
    assert found.set_index("model")["value"].gt(0).to_dict() == {"one": True, "other": False}
    assert list(itertools.chain(found["dataset"])) == ["d", "d"]

"""Planted truths: tiny tables whose outcomes and evaluation are worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dpc.analysis.studies import outcomes as studied
from dpc.analysis.studies.outcomes import evaluate, grade, outcomes
from dpc.errors import DpcError
from dpc.storage import tables
from dpc.tasks.base import Problem
from tests.support.outcomes import ONE_PASS, STATISTICS


class FakeTask:
    """Equal text is right; remembers what it was asked."""

    VERSION = "fake 3"
    STEP_END = "\n"
    ANSWER_MARK = "#"

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str]] = []

    def parse(self, row: dict[str, Any]) -> Problem:
        raise AssertionError("evaluation grades what was extracted before, and reads no rows")

    def extract(self, text: str) -> tuple[str | None, str | None]:
        raise AssertionError("evaluation grades what was extracted before, and reads no rows")

    def grade(self, extracted: str | None, answer: str) -> bool:
        assert extracted is None or isinstance(extracted, str)
        self.asked.append((extracted, answer))
        return extracted == answer


def generation(problem: str, edit: str, found: str | None, tokens: int, **more: Any) -> dict[str, Any]:
    return {
        "problem_id": problem,
        "split": "test",
        "edit_id": edit,
        "token_ids": list(range(tokens)),
        "text": f"{problem} under {edit}",
        "stop_reason": "end",
        "extracted": found,
        "extracted_lenient": found,
        "seconds": tokens / 10,
        "batch": 0,
        **more,
    }


def plan_row(problem: str, plan: str, fired: bool, edit: str, candidate: int = -1) -> dict[str, Any]:
    row: dict[str, Any] = {"problem_id": problem, "plan": plan, "fired": fired, "edit_id": edit}
    empty = {"masked": [], "mask": "scale", "mask_value": 0.0, "gamma": 0.0, "gamma_scale": 0.0}
    return {**empty, "gamma_scope": "others", "gamma_seed": -1, "candidate": candidate, **row}


PROBLEMS = ("a", "b", "c", "d")
# Gold is 1 for all. Base is right on a, b; unprompted a, c are right: the prompt broke c, and d is hard.
BASE = {"a": "1", "b": "1", "c": "0", "d": None}
BARE = {"a": "1", "b": "0", "c": "1", "d": "0"}
# DPC fires on b, c, d, breaks b and mends c
DPC = {"b": "0", "c": "1", "d": "0"}
# the oracle tries vectors 0, 1, 2 on c and d: vector 1 mends c, none d
ORACLE = {"c": ("0", "1", "0"), "d": ("0", None, "0")}
MEASURED = pd.DataFrame({"problem_id": list(PROBLEMS), "seconds_trigger": 0.5, "seconds_location": 0.25})


def through_parquet(name: str, rows: list[dict[str, Any]], folder: Path) -> pd.DataFrame:
    path = folder / f"{name}.parquet"
    tables.write(path, name, pd.DataFrame(rows), {})
    return tables.read(path, name)


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, pd.DataFrame]:
    """Plans, store, gold and questions as stages read them."""
    store = [generation(p, "base", BASE[p], 10) for p in PROBLEMS]
    store[3].update(stop_reason="length", extracted_lenient="1")
    store += [generation(p, "unprompted", BARE[p], 4) for p in PROBLEMS]
    store += [generation(p, "dpc1", found, 20) for p, found in DPC.items()]
    store += [generation(p, f"v{j}", ORACLE[p][j], 5 + j) for p in ORACLE for j in range(3)]
    plans = [plan_row(p, "prompt_tuning", False, "base") for p in PROBLEMS]
    plans += [plan_row(p, "no_prompt", True, "unprompted") for p in PROBLEMS]
    plans += [plan_row(p, "dpc", p in DPC, "dpc1") for p in PROBLEMS]
    plans += [plan_row(p, "oracle_token", True, f"v{j}", j) for p in ORACLE for j in range(3)]
    gold = [{"problem_id": p, "answer": "1", "rationale": "1", "steps": 1} for p in (*PROBLEMS, "unused")]
    questions = [
        {"problem_id": p, "split": "test", "question": f"{p}?", "prompt_text": p, "source": "here"}
        for p in reversed(PROBLEMS)
    ]
    rows = {"plans": plans, "generations": store, "gold": gold, "questions": questions}
    return {name: through_parquet(name, found, tmp_path) for name, found in rows.items()}


def joined(planted: dict[str, pd.DataFrame], task: FakeTask | None = None) -> pd.DataFrame:
    task = task or FakeTask()
    store, gold, questions = planted["generations"], planted["gold"], planted["questions"]
    return outcomes(planted["plans"], grade(store, gold, task), questions, MEASURED, ONE_PASS, {"dpc"})


def of_plan(rows: pd.DataFrame, plan: str) -> pd.DataFrame:
    return rows[rows["plan"] == plan].reset_index(drop=True)


# grading


def test_grading_joins_gold_and_asks_once_per_pair(planted: dict[str, pd.DataFrame]) -> None:
    task = FakeTask()
    store = planted["generations"].sample(frac=1, random_state=0)
    graded = grade(store, planted["gold"], task)
    assert graded.index.equals(store.index)
    assert "correct" not in store
    assert sorted(task.asked, key=str) == [("0", "1"), ("1", "1"), (None, "1")]
    base = graded[graded["edit_id"] == "base"].set_index("problem_id").loc[list(PROBLEMS)]
    assert base["correct"].tolist() == [True, True, False, False]
    assert base["correct_lenient"].tolist() == [True, True, False, True]
    assert set(base["answer"]) == {"1"}


def test_grading_without_gold_or_with_two_is_refused(planted: dict[str, pd.DataFrame]) -> None:
    store, gold = planted["generations"], planted["gold"]
    with pytest.raises(DpcError, match=r"gold: found no problem_id 'b' \(1 missing\)"):
        grade(store, gold[gold["problem_id"] != "b"], FakeTask())
    with pytest.raises(DpcError, match="gold: problem_id 'a' appears twice"):
        grade(store, pd.concat([gold, gold.head(1)]), FakeTask())


# outcomes


def test_outcomes_take_the_edit_where_it_fired_and_the_base_elsewhere(
    planted: dict[str, pd.DataFrame],
) -> None:
    found = of_plan(joined(planted), "dpc")
    assert found["text"].tolist() == ["a under base", "b under dpc1", "c under dpc1", "d under dpc1"]
    assert found["correct"].tolist() == [True, False, True, False]
    assert found["fired"].tolist() == [False, True, True, True]
    assert found["stop_reason"].tolist() == ["end"] * 4
    assert found["question"].tolist() == ["a?", "b?", "c?", "d?"]
    assert set(found["grader"]) == {"fake 3"}


def test_outcomes_count_the_base_rationale_for_plans_that_look_at_it(
    planted: dict[str, pd.DataFrame],
) -> None:
    rows = joined(planted)
    assert of_plan(rows, "dpc")["tokens"].tolist() == [10, 30, 30, 30]
    assert of_plan(rows, "dpc")["seconds_generation"].tolist() == pytest.approx([1, 1, 1, 1])
    assert of_plan(rows, "dpc")["seconds_regeneration"].tolist() == pytest.approx([0, 2, 2, 2])
    assert of_plan(rows, "dpc")["tokens_regeneration"].tolist() == [0, 20, 20, 20]
    assert set(of_plan(rows, "no_prompt")["tokens"]) == {4}
    assert set(of_plan(rows, "prompt_tuning")["tokens"]) == {10}
    assert of_plan(rows, "oracle_token")["tokens"].tolist() == [15, 16, 17] * 2


def costs(rows: pd.DataFrame, plan: str) -> list[list[float]]:
    """Return trigger, location and all seconds of each question."""
    names = ["seconds_trigger", "seconds_location", "seconds"]
    found: list[list[float]] = of_plan(rows, plan)[names].round(9).to_numpy().tolist()
    return found


def test_a_trigger_costs_every_question_and_locating_those_on_which_it_fires(
    planted: dict[str, pd.DataFrame],
) -> None:
    rows = joined(planted)
    assert costs(rows, "dpc") == [[0.5, 0, 1.5]] + [[0.5, 0.25, 3.75]] * 3
    assert costs(rows, "prompt_tuning") == [[0, 0, 1]] * 4
    assert costs(rows, "no_prompt") == [[0, 0, 0.4]] * 4
    assert costs(rows, "oracle_token") == [[0, 0, 1.5], [0, 0, 1.6], [0, 0, 1.7]] * 2, "it tries all and locates none"
    never = planted["plans"].assign(fired=lambda plans: plans["fired"] & (plans["plan"] != "dpc"))
    assert costs(joined(planted | {"plans": never}), "dpc") == [[0.5, 0, 1.5]] * 4, "a DPC that never fires is not free"


def test_a_plan_without_a_trigger_pays_for_all_of_saliency_to_locate(planted: dict[str, pd.DataFrame]) -> None:
    plans = planted["plans"].replace({"plan": {"dpc": "always"}})
    assert costs(joined(planted | {"plans": plans}), "always") == [[0, 0, 1]] + [[0, 0.75, 3.75]] * 3


def test_outcomes_fit_their_schema_in_the_order_of_the_plans(planted: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    rows = joined(planted)
    tables.write(tmp_path / "outcomes.parquet", "outcomes", rows, {})
    back = tables.read(tmp_path / "outcomes.parquet", "outcomes")
    for column in ("problem_id", "plan", "candidate", "fired"):
        assert back[column].tolist() == planted["plans"][column].tolist()


def test_outcomes_of_no_plans_are_an_empty_table(planted: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    rows = joined({**planted, "plans": planted["plans"].head(0)})
    tables.write(tmp_path / "outcomes.parquet", "outcomes", rows, {})
    assert rows.empty
    assert list(evaluate(rows, STATISTICS, ONE_PASS)) == list(tables.SCHEMAS["evaluation"])


@pytest.mark.parametrize(
    ("edit", "problem", "message"),
    [
        ("dpc1", "c", r"plan 'dpc', edit 'dpc1', problem_id 'c' \(1 missing\); run regenerate"),
        ("base", "a", r"plan 'prompt_tuning', edit 'base', problem_id 'a' \(2 missing\); run generate_base"),
        (
            "unprompted",
            "d",
            r"plan 'no_prompt', edit 'unprompted', problem_id 'd' .* run generate_unprompted",
        ),
    ],
)
def test_outcomes_name_a_missing_generation(
    planted: dict[str, pd.DataFrame], edit: str, problem: str, message: str
) -> None:
    store = planted["generations"]
    lacking = store[(store["edit_id"] != edit) | (store["problem_id"] != problem)]
    with pytest.raises(DpcError, match=message):
        joined({**planted, "generations": lacking})


def test_outcomes_refuse_a_lost_base_rationale_a_double_and_a_lost_question(
    planted: dict[str, pd.DataFrame],
) -> None:
    store, plans = planted["generations"], planted["plans"]
    fired = plans[(plans["plan"] == "dpc") & plans["fired"]]
    without = store[store["edit_id"] != "base"]
    with pytest.raises(DpcError, match="base generations: found no problem_id 'b'"):
        joined({**planted, "plans": fired, "generations": without})
    with pytest.raises(DpcError, match="edit 'base' of problem_id 'a' appears twice"):
        joined({**planted, "generations": pd.concat([store, store.head(1)])})
    with pytest.raises(DpcError, match="questions: found no problem_id"):
        joined({**planted, "questions": planted["questions"].head(2)})


# evaluation


@pytest.fixture
def evaluated(planted: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return evaluate(joined(planted), STATISTICS, ONE_PASS).set_index("plan")


def test_evaluation_of_dpc_by_hand(evaluated: pd.DataFrame) -> None:
    assert list(evaluated.index) == ["prompt_tuning", "no_prompt", "dpc", "oracle_token"]
    row = evaluated.loc["dpc"]
    assert (row["questions"], row["accuracy"], row["fixed"], row["broken"]) == (4, 0.5, 1, 1)
    assert (row["wrong"], row["prompt_broke"]) == (2, 1)
    assert row["mcnemar_p"] == 1
    assert row["fire_rate"] == 0.75
    # fired on b, c, d; wrong were c, d; the prompt broke c
    assert (row["precision_wrong"], row["recall_wrong"]) == (2 / 3, 1)
    assert (row["precision_broken"], row["recall_broken"]) == (1 / 3, 1)
    # Wilson, 2 of 4: 1/2 -+ 1.959964 / 2 / sqrt(4 + 3.841459)
    assert (row["low"], row["high"]) == pytest.approx((0.150039, 0.849961), abs=1e-6)
    assert (row["tokens"], row["seconds"]) == pytest.approx((25, 2.5 + 0.5 + 0.75 * 0.25))
    parts = ["seconds_generation", "seconds_trigger", "seconds_location", "seconds_regeneration", "tokens_regeneration"]
    assert row[parts].tolist() == pytest.approx([1, 0.5, 0.1875, 1.5, 15])
    assert (row["truncated"], row["note"]) == (0, "")


@pytest.mark.parametrize("one_pass", [ONE_PASS, set()])
def test_evaluation_of_plans_without_a_trigger(planted: dict[str, pd.DataFrame], one_pass: set[str]) -> None:
    # without their names known, firing never or always is a trigger too
    evaluated = evaluate(joined(planted), STATISTICS, one_pass).set_index("plan")
    base, bare = evaluated.loc["prompt_tuning"], evaluated.loc["no_prompt"]
    shown = ["accuracy", "accuracy_lenient", "fixed", "broken", "fire_rate", "truncated", "tokens"]
    assert base[shown].tolist() == [0.5, 0.75, 0, 0, 0, 1, 10]
    assert bare[shown].tolist() == [0.5, 0.5, 1, 1, 1, 0, 4]
    names = ["precision_wrong", "recall_wrong", "precision_broken", "recall_broken"]
    nothing, everything = ([math.nan, 0, math.nan, 0], [0.5, 1, 0.25, 1]) if not one_pass else ([math.nan] * 4,) * 2
    assert base[names].tolist() == pytest.approx(nothing, nan_ok=True)
    assert bare[names].tolist() == pytest.approx(everything, nan_ok=True)


def test_evaluation_of_the_token_oracle_by_hand(evaluated: pd.DataFrame) -> None:
    row = evaluated.loc["oracle_token"]
    # half right already, half of the wrong half repaired; Wilson of 1 of 2 is .094531 to .905469
    assert (row["questions"], row["accuracy"], row["fixed"], row["broken"]) == (4, 0.75, 1, 0)
    assert (row["low"], row["high"]) == pytest.approx((0.5 + 0.5 * 0.094531, 0.5 + 0.5 * 0.905469), abs=1e-6)
    # d was right leniently before: all four are
    assert row["accuracy_lenient"] == 1
    # a, b cost 10; c, d cost 10 + 5 + 6 + 7
    assert (row["tokens"], row["seconds"]) == pytest.approx((19, 1.9))
    parts = ["seconds_generation", "seconds_trigger", "seconds_location", "seconds_regeneration", "tokens_regeneration"]
    assert row[parts].tolist() == pytest.approx([1, 0, 0, 0.9, 9])
    assert row["fire_rate"] == 0.5
    sample = "upper bound, from 2 of 2 wrong questions, 6 generations"
    assert row["note"] == f"{sample}; interval for these test questions"
    assert math.isnan(row["mcnemar_p"])
    assert math.isnan(row["precision_wrong"])


def test_token_oracle_scales_a_sample_up_and_leaves_right_questions_alone(
    planted: dict[str, pd.DataFrame],
) -> None:
    rows = joined(planted)
    oracle = rows["plan"] == "oracle_token"
    sampled = rows[~oracle | (rows["problem_id"] == "c")]
    row = evaluate(sampled, STATISTICS, ONE_PASS).set_index("plan").loc["oracle_token"]
    assert (row["accuracy"], row["fixed"], row["tokens"]) == (1, 1, 19)
    assert row["note"].startswith("upper bound, from 1 of 2 wrong questions")
    stray = rows[oracle & (rows["problem_id"] == "c")].assign(problem_id="a", correct=False)
    again = evaluate(pd.concat([sampled, stray]), STATISTICS, ONE_PASS).set_index("plan").loc["oracle_token"]
    pd.testing.assert_series_equal(again, row)


def test_evaluation_without_no_prompt_knows_nothing_of_broken_questions(
    planted: dict[str, pd.DataFrame],
) -> None:
    rows = joined(planted)
    row = evaluate(rows[rows["plan"] != "no_prompt"], STATISTICS, ONE_PASS).set_index("plan").loc["dpc"]
    assert math.isnan(row["precision_broken"])
    assert math.isnan(row["recall_broken"])
    assert row["recall_wrong"] == 1
    assert pd.isna(row["prompt_broke"])


def test_right_without_the_prompt_is_read_leniently(planted: dict[str, pd.DataFrame]) -> None:
    """A model without a prompt was never told the answer's form: d's answer is right but for that."""
    rows = joined(planted)
    bare_d = (rows["plan"] == "no_prompt") & (rows["problem_id"] == "d")
    rows.loc[bare_d, "correct_lenient"] = True
    row = evaluate(rows, STATISTICS, ONE_PASS).set_index("plan").loc["dpc"]
    assert (row["precision_broken"], row["recall_broken"]) == (2 / 3, 1)


def test_one_pass_plan_that_fires_on_some_has_no_trigger(planted: dict[str, pd.DataFrame]) -> None:
    row = evaluate(joined(planted), STATISTICS, {*ONE_PASS, "dpc"}).set_index("plan").loc["dpc"]
    assert math.isnan(row["precision_wrong"])
    assert row["fire_rate"] == 0.75


def test_evaluation_refuses_other_questions_doubles_and_a_missing_baseline(
    planted: dict[str, pd.DataFrame],
) -> None:
    rows = joined(planted)
    dpc, base = rows["plan"] == "dpc", rows["plan"] == "prompt_tuning"
    with pytest.raises(DpcError, match=r"plan 'dpc' needs .* but problem_id 'd' is in one only"):
        evaluate(rows[~(dpc & (rows["problem_id"] == "d"))], STATISTICS, ONE_PASS)
    for plan in ("dpc", "prompt_tuning"):
        with pytest.raises(DpcError, match=f"plan '{plan}' needs .* twice"):
            evaluate(pd.concat([rows, of_plan(rows, plan).head(1)]), STATISTICS, ONE_PASS)
    with pytest.raises(DpcError, match="no plan 'prompt_tuning', only no_prompt, dpc"):
        evaluate(rows[~base], STATISTICS, ONE_PASS)


def test_evaluation_fits_its_schema(planted: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    path, found = tmp_path / "evaluation.parquet", evaluate(joined(planted), STATISTICS, ONE_PASS)
    tables.write(path, "evaluation", found.assign(ineligible=0, memory_gb=1.0, unchanged=False), {})
    assert tables.read(path, "evaluation")["plan"].tolist() == found["plan"].tolist()


UNCHANGED = [
    # (question, edit, tokens) of a store, and whether the prompt changes no answer
    ([("a", "base", [1, 2]), ("a", "unprompted", [1, 2])], True),
    ([("a", "base", [1, 2]), ("a", "unprompted", [1, 3])], False),
    ([("a", "base", [1, 2]), ("a", "unprompted", [1, 2, 3])], False),
    ([("b", "base", [7]), ("a", "base", [1]), ("a", "unprompted", [1]), ("b", "unprompted", [7])], True),
    ([("b", "base", [7]), ("a", "base", [1]), ("a", "unprompted", [7]), ("b", "unprompted", [1])], False),
    ([("a", "base", [1]), ("b", "base", [1]), ("a", "unprompted", [1])], False),
    ([("a", "base", [1]), ("a", "unprompted", [1]), ("a", "x1", [9])], True),
    ([("a", "base", [1])], False),
    ([], False),
]


@pytest.mark.parametrize(("rows", "is_unchanged"), UNCHANGED)
def test_a_prompt_that_changes_no_answer_is_told(rows: list[tuple[str, str, list[int]]], is_unchanged: bool) -> None:
    store = pd.DataFrame(rows, columns=["problem_id", "edit_id", "token_ids"])
    assert studied.is_unchanged(store) == is_unchanged

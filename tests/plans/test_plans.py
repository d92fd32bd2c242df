"""Every plan of the registry: when it fires, which edit it makes, and what it cannot look at."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.config.settings import Controls, Corrupt, Trigger
from dpc.errors import DpcError
from dpc.plans import declaration
from dpc.plans import registry as plans
from dpc.plans.registry import Inputs
from dpc.prompts.edits import ACT, BASE, READY, UNPROMPTED, Edit
from dpc.storage import tables
from dpc.storage.hashing import hash_order

PLANS, ORACLES, CALIBRATION = (plans.functions(part) for part in ("test", "oracles", "calibration"))
EVERY = {**PLANS, **ORACLES, **CALIBRATION}
SHARES = [0.0, 0.5, 0.6, 0.9, 1.0, 0.5, 0.7]
LOCATED = [[2], [0], [2], [3], [1], [2], [0]]


def readings(shares: Sequence[float], located: Sequence[list[int]] | None = None, **more: Any) -> pd.DataFrame:
    """Readings of questions q0, q1, … with five vectors; the fourth question is not eligible."""
    count = len(shares)
    table = pd.DataFrame(
        {
            "problem_id": [f"q{k}" for k in range(count)],
            "vectors": 5,
            "affected_share": shares,
            "located": list(located) if located else [[k % 5] for k in range(count)],
            "accumulation_z": 1.0,
            "entropy": [0.1 * k for k in range(count)],
            "nll": [1.0 - 0.1 * k for k in range(count)],
            "attention": 0.5,
            "eligible": [k != 3 for k in range(count)],
        }
    )
    return table.assign(**more)


def inputs(table: pd.DataFrame | None = None, **more: Any) -> Inputs:
    found = readings(SHARES, LOCATED) if table is None else table
    standing: dict[str, Any] = {"share": 0.5, "static_vector": 1, "wrong": frozenset({"q1", "q3", "q4"})}
    return Inputs(found, Trigger(), Corrupt(), Controls(), **{**standing, **more})


def fired_by(name: str, given_inputs: Inputs) -> list[str]:
    table = EVERY[name](given_inputs)
    return table.loc[table["fired"], "problem_id"].tolist()


def edits_by(name: str, given_inputs: Inputs) -> dict[str, Edit]:
    """Edit of each fired question."""
    table = EVERY[name](given_inputs)
    return {row.problem_id: Edit.from_row(row) for row in tables.rows(table[table["fired"]])}


DPC_FIRES = ["q2", "q4", "q6"]


# the registries


def test_every_plan_belongs_to_the_parts_it_declares() -> None:
    assert set(EVERY) == set(declaration.PLANS)
    assert set(ORACLES) == {"oracle_trigger", "oracle_token"}
    assert list(CALIBRATION) == ["always", "static_candidates"]
    scored = {"likelihood", "likelihood_no_prompt"}
    assert {"no_prompt", "prompt_tuning", "act", "static_mask", "projected", *scored} == declaration.ONE_PASS


def test_candidates_for_a_static_mask_are_planned_where_it_runs() -> None:
    assert declaration.on_calibration(["prompt_tuning", "dpc"]) == ["always"]
    assert declaration.on_calibration(["prompt_tuning", "static_mask"]) == ["always", "static_candidates"]


def test_tables_show_plans_kind_by_kind() -> None:
    assert list(PLANS) == [
        "no_prompt", "prompt_tuning", "act", "dpc", "likelihood", "likelihood_no_prompt", "random_corruption",
        "random_trigger", "random_token", "first_vector", "projected",
        "entropy_trigger", "nll_trigger", "attention_trigger", "always", "mask_only", "gamma_only",
        "identity", "static_mask",
    ]  # fmt: skip
    assert [name for name in declaration.PLANS if name.startswith("oracle")] == list(declaration.PLANS)[-2:]


def test_only_upper_bounds_are_called_so() -> None:
    assert declaration.label("dpc") == "DPC"
    bounds = {name for name in EVERY if "upper bound" in declaration.label(name)}
    assert bounds == set(ORACLES)


@pytest.mark.parametrize("name", list(PLANS))
def test_a_plan_gives_one_row_per_question(name: str) -> None:
    table = PLANS[name](inputs())
    assert table["problem_id"].tolist() == inputs().readings["problem_id"].tolist()
    assert set(table["candidate"]) == {-1}
    assert table["fired"].dtype == bool
    assert set(table.columns) == set(tables.SCHEMAS["plans"]) - {"plan"}


@pytest.mark.parametrize("name", ["static_candidates", "oracle_token"])
def test_a_plan_that_tries_several_gives_one_row_per_question_and_candidate(name: str) -> None:
    table = EVERY[name](inputs())
    assert not table.duplicated(["problem_id", "candidate"]).any()
    assert len(table) == table["problem_id"].nunique() * table["candidate"].nunique()
    assert table["fired"].all()
    assert table["masked"].map(list).tolist() == [[j] for j in table["candidate"]]


def test_a_wrong_name_is_refused_with_the_nearest_right_one() -> None:
    with pytest.raises(DpcError, match="unknown plan 'mask_onyl'; did you mean 'mask_only'"):
        plans.make(["dpc", "mask_onyl"], "test", inputs())


def test_no_plan_can_receive_gold() -> None:
    assert [field.name for field in fields(Inputs)] == [
        "readings", "trigger", "corrupt", "controls", "share", "accumulation_z", "static_vector",
        "score_limits", "act_heads", "wrong",
    ]  # fmt: skip
    for name, plan in EVERY.items():
        assert list(inspect.signature(plan).parameters) == ["inputs"], name


LIMITS = {"entropy": 0.2, "nll": 0.85, "attention": 0.4}
OTHERS: dict[str, list[Any]] = {
    "share": [None, 0.0, 1.0],
    "accumulation_z": [None, 5.0],
    "static_vector": [-1, 3],
    "score_limits": [{}, {"entropy": 0.5, "nll": 0.55, "attention": None}],
    "act_heads": [0],
    "wrong": [frozenset(), frozenset(f"q{k}" for k in range(7))],
}
"""Of each field of `Inputs` that a plan may need, other values than the standing ones."""


@pytest.mark.parametrize("name", EVERY)
def test_a_plan_looks_at_what_it_needs_and_at_nothing_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpc.plans.corruption.NOISE_FLOOR", 1)  # of seven questions: others fire by DPC's trigger alone
    trigger = Trigger(rule="share_and_accumulation")
    standing = replace(inputs(score_limits=LIMITS, accumulation_z=0.5, act_heads=2), trigger=trigger)
    found = EVERY[name](standing)
    changes = {
        field
        for field, values in OTHERS.items()
        if any(not found.equals(EVERY[name](replace(standing, **{field: value}))) for value in values)
    }
    assert changes == set(declaration.PLANS[name].needs)


def test_only_upper_bounds_need_what_was_wrong() -> None:
    assert {name for name, each in declaration.PLANS.items() if "wrong" in each.needs} == set(ORACLES)


# the trigger


def test_dpc_fires_above_the_share_where_eligible() -> None:
    # q1 and q5 stand exactly at R, q3 is above it and not eligible
    assert fired_by("dpc", inputs()) == DPC_FIRES
    assert fired_by("dpc", inputs(share=None)) == []
    assert fired_by("dpc", inputs(share=1.0)) == []
    assert fired_by("dpc", inputs(share=0.0)) == ["q1", "q2", "q4", "q5", "q6"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 1))
def test_dpc_fires_exactly_where_the_rule_says(shares: list[float], limit: float) -> None:
    expected = [f"q{k}" for k, share in enumerate(shares) if share > limit and k != 3]
    assert fired_by("dpc", inputs(readings(shares), share=limit)) == expected


def test_the_share_and_accumulation_rule() -> None:
    z = [9.0, 9, 2, 9, 2.1, 9, np.nan]
    both = replace(inputs(readings(SHARES, LOCATED, accumulation_z=z)), trigger=Trigger(rule="share_and_accumulation"))
    assert fired_by("dpc", replace(both, accumulation_z=2.0)) == ["q4"]
    assert fired_by("dpc", replace(both, accumulation_z=1.9)) == ["q2", "q4"]
    assert fired_by("dpc", replace(both, accumulation_z=None)) == []
    assert fired_by("dpc", replace(both, accumulation_z=1.9, share=None)) == []
    # the default rule takes no notice of z
    assert fired_by("dpc", replace(both, accumulation_z=2.0, trigger=Trigger())) == DPC_FIRES


@pytest.mark.parametrize(
    ("name", "fires"),
    [
        ("no_prompt", "all"), ("always", "all"), ("static_mask", "all"), ("prompt_tuning", "none"),
        ("mask_only", "dpc"), ("gamma_only", "dpc"), ("random_token", "dpc"),
        ("first_vector", "dpc"), ("entropy_trigger", "none"), ("nll_trigger", "none"), ("attention_trigger", "none"),
    ],
)  # fmt: skip
def test_which_questions_the_other_plans_fire_on(name: str, fires: str) -> None:
    wanted = {"all": [f"q{k}" for k in range(7)], "none": [], "dpc": DPC_FIRES}[fires]
    assert fired_by(name, inputs()) == wanted
    if fires == "dpc":
        assert fired_by(name, inputs(share=None)) == []


def test_a_fixed_sample_is_generated_again_even_where_dpc_never_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpc.plans.corruption.NOISE_FLOOR", 2)
    sample = sorted((f"q{k}" for k in range(7) if k != 3), key=hash_order)[:2]
    assert fired_by("identity", inputs(share=None)) == sorted(sample)
    assert fired_by("identity", inputs()) == sorted({*DPC_FIRES, *sample})
    monkeypatch.setattr("dpc.plans.corruption.NOISE_FLOOR", 0)
    assert fired_by("identity", inputs()) == DPC_FIRES


def test_where_a_plan_does_not_fire_the_base_generation_stands() -> None:
    for name in ("dpc", "prompt_tuning", "random_corruption", "identity"):
        table = PLANS[name](inputs())
        idle = table[~table["fired"]]
        assert set(idle["edit_id"]) == {BASE}
        assert not idle["masked"].map(len).any()
        assert BASE not in set(table.loc[table["fired"], "edit_id"])


# the edits


def test_dpc_masks_the_located_vector_and_zeroes_gamma_percent() -> None:
    assert edits_by("dpc", inputs()) == {
        key: Edit((vector,), "scale", 0.0, 10.0, 0.0, "others", -1) for key, vector in (("q2", 2), ("q4", 1), ("q6", 0))
    }


def test_edits_follow_the_settings() -> None:
    corrupt = Corrupt(mask="attention", mask_value=0.5, gamma=20.0, gamma_scale=0.5, gamma_scope="all")
    changed = replace(inputs(readings([1.0], [[4, 1]])), corrupt=corrupt)
    # the factor belongs to `scale` alone: it must not tell equal edits apart
    assert edits_by("dpc", changed) == {"q0": Edit((1, 4), "attention", 0.0, 20.0, 0.5, "all")}
    assert edits_by("mask_only", changed) == {"q0": Edit((1, 4), "attention", 0.0, 0.0, 0.5, "all")}
    assert edits_by("gamma_only", changed) == {"q0": Edit((1, 4), "scale", 1.0, 20.0, 0.5, "all")}
    assert edits_by("identity", changed) == {"q0": Edit((1, 4), "scale", 1.0, 0.0, 0.5, "all")}
    scaled = replace(changed, corrupt=Corrupt(mask_value=0.5))
    assert edits_by("dpc", scaled)["q0"].mask_value == 0.5


def test_act_is_everybodys_answer_where_heads_are_confirmed_and_nobodys_otherwise() -> None:
    on, off = (plans.make(["act"], "test", inputs(act_heads=heads)) for heads in (3, 0))
    assert on["fired"].all()
    assert set(on["edit_id"]) == {ACT}
    assert len(plans.edits_of(on)) == 0  # they come ready
    assert not off["fired"].any()
    assert set(off["edit_id"]) == {BASE}
    assert len(plans.edits_of(off)) == 0


def test_the_text_of_a_prompt_is_one_edit_for_everybody_and_looks_at_nothing() -> None:
    assert edits_by("projected", inputs()) == {f"q{k}": Edit(mask="nearest_token") for k in range(7)}


@pytest.mark.parametrize("name", ["likelihood", "likelihood_no_prompt"])
def test_the_likeliest_label_comes_ready(name: str) -> None:
    table = plans.make([name], "test", inputs())
    assert table["fired"].all()
    assert set(table["edit_id"]) <= set(READY)
    assert plans.edits_of(table).empty


def test_static_mask_is_one_edit_for_everybody_or_nobody() -> None:
    found = edits_by("static_mask", inputs(static_vector=3))
    assert set(found) == set(inputs().readings["problem_id"])
    assert set(found.values()) == {Edit(masked=(3,), gamma=10.0)}
    assert edits_by("static_mask", inputs(static_vector=-1)) == {}
    assert edits_by("first_vector", inputs()) == {key: Edit((0,), gamma=10.0) for key in DPC_FIRES}
    assert edits_by("static_mask", inputs(static_vector=0))["q0"].masked == (0,)


def test_static_candidates_are_the_vectors_located_most_often() -> None:
    # vector 2 three times, 0 twice, 1 and 3 once, 4 never
    controls = Controls(static_candidates=3, static_questions=4)
    table = CALIBRATION["static_candidates"](replace(inputs(), controls=controls))
    assert table["candidate"].drop_duplicates().tolist() == [2, 0, 1]
    assert table.groupby("candidate")["problem_id"].nunique().tolist() == [4, 4, 4]
    assert table.groupby("problem_id").size().tolist() == [3] * 4
    # no more candidates than vectors, no more questions than there are
    whole = CALIBRATION["static_candidates"](inputs())
    assert (whole["candidate"].nunique(), whole["problem_id"].nunique()) == (5, 7)


def test_static_candidates_use_the_same_questions_in_any_order() -> None:
    few = replace(inputs(), controls=Controls(static_questions=3))
    mixed = replace(few, readings=few.readings.sample(frac=1, random_state=1))
    first, second = (set(CALIBRATION["static_candidates"](x)["problem_id"]) for x in (few, mixed))
    assert first == second


def test_the_token_oracle_tries_every_vector_on_wrong_questions_only() -> None:
    table = ORACLES["oracle_token"](inputs())
    assert set(table["problem_id"]) == {"q1", "q3", "q4"}
    assert sorted(table["candidate"].unique()) == [0, 1, 2, 3, 4]
    few = replace(inputs(), controls=Controls(oracle_questions=2))
    chosen = set(ORACLES["oracle_token"](few)["problem_id"])
    assert len(chosen) == 2
    assert chosen < {"q1", "q3", "q4"}
    more = replace(few, wrong=frozenset({"q1", "q3", "q4", "no such question"}))
    assert set(ORACLES["oracle_token"](more)["problem_id"]) == chosen


def test_the_token_oracle_of_no_wrong_question_is_an_empty_table(tmp_path: Path) -> None:
    table = plans.make(["oracle_token"], "oracles", inputs(wrong=frozenset()))
    tables.write(tmp_path / "plans.parquet", "plans", table, {})
    assert tables.read(tmp_path / "plans.parquet", "plans").empty


# edits, united


def test_plans_that_coincide_share_their_edits() -> None:
    dpc, always = edits_by("dpc", inputs()), edits_by("always", inputs())
    assert {key: always[key].edit_id for key in dpc} == {key: edit.edit_id for key, edit in dpc.items()}
    without_gamma = replace(inputs(), corrupt=Corrupt(gamma=0.0))
    assert edits_by("dpc", without_gamma) == edits_by("mask_only", without_gamma)


def test_edits_are_unique_by_content_and_prompted() -> None:
    table = plans.make(list(PLANS), "test", inputs())
    found = plans.edits_of(table)
    assert not found.duplicated(["problem_id", "edit_id"]).any()
    assert not {BASE, *READY} & set(found["edit_id"])
    assert found["fired"].all()
    wanted = table[table["fired"] & ~table["plan"].isin(["no_prompt", "likelihood", "likelihood_no_prompt"])]
    assert set(zip(found["problem_id"], found["edit_id"], strict=True)) == set(
        zip(wanted["problem_id"], wanted["edit_id"], strict=True)
    )
    # always 7 with dpc's and the random trigger's among them, 3 each of mask, gamma and random corruption; identity
    # all 6 that are eligible; static masks vector 1 for 7, always does so for q4; the first vector adds q2 and q4,
    # another q2, q4 and q6; nearest tokens 7
    assert len(found) == 7 + 3 * 3 + 6 + 6 + 2 + 3 + 7
    assert plans.edits_of(table[table["plan"].isin(["prompt_tuning", "no_prompt"])]).empty


def test_edits_survive_the_plans_table(tmp_path: Path) -> None:
    table = plans.make(list(PLANS), "test", inputs())
    tables.write(tmp_path / "plans.parquet", "plans", table, {})
    back = tables.read(tmp_path / "plans.parquet", "plans")
    assert back["plan"].tolist() == [name for name in PLANS for _ in range(7)]
    for row in tables.rows(back[back["fired"] & ~back["edit_id"].isin(READY)]):
        assert Edit.from_row(row).edit_id == row.edit_id
    assert set(back.loc[back["plan"] == "no_prompt", "edit_id"]) == {UNPROMPTED}


def test_an_edit_is_read_back_from_a_row_in_either_form() -> None:
    """A Series has a method `mask`: read as an attribute, the mask would be lost, and nothing masked."""
    edit = Edit((3, 1), "vocabulary_mean", 0.5, 10.0, 0.2, "all", 7)
    table = pd.DataFrame([edit.columns()])
    assert [Edit.from_row(row) for row in (table.iloc[0], next(tables.rows(table)))] == [edit, edit]
    with pytest.raises(DpcError, match="edit has mask 'hide'; expected scale, vocabulary_mean, attention, nearest_to"):
        Edit((1,), "hide")


NUMBERS = st.floats(-100, 100)
EDITS = st.builds(
    Edit,
    masked=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    mask=st.sampled_from(["scale", "vocabulary_mean", "attention", "nearest_token"]),
    mask_value=NUMBERS,
    gamma=st.floats(0, 100),
    gamma_scale=NUMBERS,
    gamma_scope=st.sampled_from(["others", "all", "located", "per_vector"]),
    gamma_seed=st.integers(-1, 2**31 - 1),
)


@given(EDITS, EDITS)
def test_edit_ids_depend_on_every_field(edit: Edit, other: Edit) -> None:
    for name, value in asdict(other).items():
        changed = replace(edit, **{name: value})
        assert (changed.edit_id == edit.edit_id) == (changed == edit), name


def test_equal_edits_have_one_id() -> None:
    assert Edit((1,), gamma=10).edit_id == Edit((1,), gamma=10.0).edit_id
    numpy_made = Edit((np.int64(1),), gamma=np.float32(10), gamma_seed=np.int32(7))
    assert numpy_made.edit_id == Edit((1,), gamma=10.0, gamma_seed=7).edit_id
    assert Edit((1,), mask_value=-0.0).edit_id == Edit((1,)).edit_id


def test_edit_ids_are_stable() -> None:
    # stored generations are found by this id: a change orphans them
    assert Edit(masked=(3, 5), gamma=10.0).edit_id == "7d010e36d4c8896a"

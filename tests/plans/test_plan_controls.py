"""Plans beside DPC that share its rate, its edit or its questions: random controls, simpler triggers, the oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.config.settings import Controls
from dpc.plans.registry import Inputs
from tests.plans.test_plans import ORACLES, edits_by, fired_by, inputs, readings


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 1), st.integers(0, 99))
def test_random_corruption_fires_as_often_as_dpc(shares: list[float], limit: float, seed: int) -> None:
    given_inputs = replace(inputs(readings(shares), share=limit), controls=Controls(seed=seed))
    assert len(fired_by("random_corruption", given_inputs)) == len(fired_by("dpc", given_inputs))


def many(seed: int = 0, share: float | None = 0.5, count: int = 40) -> Inputs:
    shares = np.random.default_rng(1).random(count).tolist()
    return replace(inputs(readings(shares), share=share), controls=Controls(seed=seed))


def test_random_corruption_follows_its_seed() -> None:
    first, again, other = (edits_by("random_corruption", many(seed)) for seed in (0, 0, 1))
    assert first == again
    assert set(first) != set(other)
    shared = set(first) & set(other)
    assert [first[key].masked for key in shared] != [other[key].masked for key in shared]
    assert all(first[key].gamma_seed != other[key].gamma_seed for key in shared)
    assert set(first) != set(fired_by("dpc", many()))


def test_random_corruption_differs_between_questions_and_keeps_dpcs_size() -> None:
    found = edits_by("random_corruption", many(share=0.0))
    assert {edit.masked for edit in found.values()} == {(j,) for j in range(5)}
    assert len({edit.gamma_seed for edit in found.values()}) == len(found)
    assert {edit.gamma for edit in found.values()} == {10.0}
    two = replace(inputs(readings([1.0] * 3, [[0, 1], [2, 3], [1, 4]])), share=0.0)
    for edit in edits_by("random_corruption", two).values():
        assert len(set(edit.masked)) == 2
        assert edit.masked == tuple(sorted(edit.masked))
        assert set(edit.masked) <= set(range(5))


def test_random_corruption_takes_no_notice_of_the_order_of_rows() -> None:
    ordered = many()
    mixed = replace(ordered, readings=ordered.readings.sample(frac=1, random_state=2))
    assert edits_by("random_corruption", ordered) == edits_by("random_corruption", mixed)


def test_random_corruption_draws_each_question_by_itself() -> None:
    whole, part = many(share=0.0), many(share=0.0)
    part = replace(part, readings=part.readings.iloc[10:20])
    found, alone = edits_by("random_corruption", whole), edits_by("random_corruption", part)
    # q3 is not eligible, so one question of the whole is spared
    assert {key: edit for key, edit in alone.items() if key in found} == {
        key: edit for key, edit in found.items() if key in alone
    }
    assert len(alone) == 10


def test_a_higher_rate_adds_to_the_questions_of_a_lower_one() -> None:
    few, more = (set(fired_by("random_corruption", many(share=share))) for share in (0.8, 0.3))
    assert few < more


def test_random_trigger_keeps_dpcs_edit_on_other_questions() -> None:
    given_inputs = many()
    found, always = edits_by("random_trigger", given_inputs), edits_by("always", given_inputs)
    assert len(found) == len(fired_by("dpc", given_inputs))
    assert set(found) != set(fired_by("dpc", given_inputs))
    assert set(found) != set(fired_by("random_corruption", given_inputs))  # drawn on its own
    assert found == {key: always[key] for key in found}
    assert set(found) != set(fired_by("random_trigger", many(seed=1)))


def test_random_token_is_another_vector_where_dpc_fires() -> None:
    given_inputs = many(count=200)
    found, mine = edits_by("random_token", given_inputs), edits_by("dpc", given_inputs)
    assert list(found) == list(mine)
    assert {(edit.gamma, edit.gamma_seed) for edit in found.values()} == {(10.0, -1)}
    # each of the four others as often: the step from the located vector to the drawn one, around the five
    steps = np.bincount([(found[key].masked[0] - mine[key].masked[0]) % 5 for key in mine], minlength=5)
    assert steps[0] == 0
    assert steps[1:] / len(mine) == pytest.approx([0.25] * 4, abs=3 * (0.25 * 0.75 / len(mine)) ** 0.5)


@pytest.mark.parametrize(
    ("vectors", "located", "possible"),
    [(1, [0], {(0,)}), (2, [1], {(0,)}), (3, [0, 2], {(0, 1), (1, 2)}), (4, [1, 2], {(0, 3)})],
)
def test_random_token_takes_located_vectors_only_where_others_run_out(
    vectors: int, located: list[int], possible: set[tuple[int, ...]]
) -> None:
    table = readings([1.0] * 40, [located] * 40, vectors=vectors)
    assert {edit.masked for edit in edits_by("random_token", inputs(table)).values()} == possible


@pytest.mark.parametrize("name", ["random_trigger", "random_corruption"])
@settings(max_examples=30, deadline=None)
@given(eligible=st.lists(st.booleans(), min_size=1, max_size=30), limit=st.floats(0, 1), seed=st.integers(0, 99))
def test_random_controls_fire_on_eligible_questions_alone(
    name: str, eligible: list[bool], limit: float, seed: int
) -> None:
    shares = np.random.default_rng(seed).random(len(eligible)).tolist()
    given_inputs = replace(inputs(readings(shares, eligible=eligible), share=limit), controls=Controls(seed=seed))
    fired = set(fired_by(name, given_inputs))
    assert fired <= {f"q{k}" for k, may in enumerate(eligible) if may}
    assert len(fired) == len(fired_by("dpc", given_inputs))


def test_a_score_fires_above_its_limit_where_eligible() -> None:
    # entropy 0, .1, .2 … and NLL 1, .9, .8 …; q3 is not eligible
    limited = inputs(score_limits={"entropy": 0.2, "nll": 0.85, "attention": None})
    assert fired_by("entropy_trigger", limited) == ["q4", "q5", "q6"]
    assert fired_by("nll_trigger", limited) == ["q0", "q1"]
    assert fired_by("attention_trigger", limited) == []
    always = edits_by("always", limited)
    assert edits_by("nll_trigger", limited) == {key: always[key] for key in ("q0", "q1")}


def test_the_trigger_oracle_fires_where_prompt_tuning_was_wrong() -> None:
    found, always = edits_by("oracle_trigger", inputs()), edits_by("always", inputs())
    assert found == {key: always[key] for key in ("q1", "q3", "q4")}
    assert ORACLES["oracle_trigger"](inputs())["candidate"].tolist() == [-1] * 7

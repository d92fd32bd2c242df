"""Readings of the flow against brute force over explicit maps, and against hand arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.analysis.readings import flow
from dpc.analysis.readings.flow import (
    Instance,
    block_means,
    column_saliency,
    pair_counts,
)
from dpc.config.layers import layer_range
from dpc.config.settings import Flow, Locate, Trigger
from dpc.errors import DpcError
from tests.support.derived import affected_in, readings_of
from tests.support.saliency_rows import (
    Places,
    even_steps,
    flow_maps,
    generation,
    instance,
    pairs,
    random_maps,
    saliency_row,
)

CUTS = ("tokens", "steps")
DEEP = Flow(deep_layers=[0, 2])
LAYERS = 3


def places_of(vectors: int, question: int, tokens: int, steps: int) -> Places:
    return Places(vectors, question, even_steps(tokens, steps))


SHAPES = st.builds(places_of, st.integers(1, 4), st.integers(1, 5), st.integers(1, 8), st.integers(1, 4))


# layers


@pytest.mark.parametrize(
    ("spec", "layers", "first", "last"),
    [
        ("paper", 32, 2, 10),
        ("paper", 40, 2, 12),
        ("paper", 6, 0, 2),
        ("second_half", 32, 16, 30),
        ("second_half", 40, 20, 38),
        ("second_half", 6, 3, 4),
        ("second_half", 2, 1, 1),
        ("second_half", 1, 0, 0),
        ("all", 6, 0, 5),
        ([0, 0], 6, 0, 0),
        ([2, 5], 6, 2, 5),
    ],
)
def test_layer_ranges(spec: str | list[int], layers: int, first: int, last: int) -> None:
    assert layer_range(spec, layers) == range(first, last + 1)


@pytest.mark.parametrize("spec", [[2, 6], [4, 3], [-1, 2], [6, 6]])
def test_layer_ranges_outside_the_model_are_refused(spec: list[int]) -> None:
    with pytest.raises(DpcError, match=rf"\[{spec[0]}, {spec[1]}\] does not lie in the model's layers 0 to 5"):
        layer_range(spec, 6)


@given(st.sampled_from(["paper", "second_half", "all"]), st.integers(1, 100))
def test_named_layer_ranges_lie_in_every_model(spec: str, layers: int) -> None:
    found = layer_range(spec, layers)
    assert len(found) > 0
    assert 0 <= found[0] <= found[-1] < layers


# block means


def blocks_of(places: Places, cut: str) -> dict[str, tuple[list[int], list[int]]]:
    """Rows and columns of each block."""
    former, latter = places.r_rows[: places.former(cut)], places.r_rows[places.former(cut) :]
    return {
        "p→q": (places.q_rows, places.p),
        "p→r": (places.r_rows, places.p),
        "q→r": (places.r_rows, places.q),
        "r→r": (places.r_rows, places.r),
        "p→former": (former, places.p),
        "p→latter": (latter, places.p),
        "q→latter": (latter, places.q),
        "former→latter": (latter, places.r[: places.former(cut)]),
    }


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(0, 999), st.sampled_from(CUTS))
def test_block_means_equal_brute_force(places: Places, seed: int, cut: str) -> None:
    maps = random_maps(seed, LAYERS, places)
    found = block_means(instance(maps, places), cut)
    assert set(found) == set(blocks_of(places, cut))
    for block, (rows, columns) in blocks_of(places, cut).items():
        each = pairs(rows, columns)
        for layer in range(LAYERS):
            truth = np.mean([maps[layer, i, j] for i, j in each]) if each else math.nan
            assert found[block][layer] == pytest.approx(truth, nan_ok=True), (block, layer)


@settings(max_examples=100, deadline=None)
@given(SHAPES, st.sampled_from(CUTS))
def test_pair_counts_equal_enumeration(places: Places, cut: str) -> None:
    found = pair_counts(places.question, places.vectors, places.tokens, places.former(cut))
    assert found == {block: len(pairs(*sides)) for block, sides in blocks_of(places, cut).items()}


def test_helper_rows_are_what_the_saliency_stage_stores() -> None:
    # ties the oracle to the recorder and to the stage that writes the table, for which torch is needed
    import torch

    from dpc.lm.layout import RightPadded
    from dpc.lm.saliency.attention import Tile
    from dpc.lm.saliency.recorder import Recorder, Request
    from dpc.pipeline.stages.extract_saliency import _row, former_lengths

    places, band = Places(3, 4, (0, 0, 1, 1, 1, 2, 2)), range(1, 3)
    maps = random_maps(3, LAYERS, places)
    embeds = torch.zeros(1, places.size, 2, dtype=torch.float64)
    batch = RightPadded(embeds, [[7] * places.tokens], places.q[0], [places.question])
    cut = former_lengths(list(places.steps))
    recorder = Recorder(Request(band=band), batch, slice(1, 4), [cut], LAYERS, 1)
    first = batch.question_start
    everything = Tile(slice(0, 1), slice(0, places.size - first), slice(0, places.size))
    for layer in range(LAYERS):
        map_BHQK = torch.tensor(maps[layer])[None, None, first:]
        recorder.read(layer, everything, map_BHQK, map_BHQK)
    reduced = recorder.reduced([torch.full((places.tokens,), 0.5)], [torch.full((places.tokens,), 0.25)])
    stored = _row(SimpleNamespace(problem_id="x", split="test"), batch, 0, 1, list(places.steps), cut, reduced)
    oracle = saliency_row(maps, places, band=band)
    del oracle["seconds"]  # who reads the clock adds them
    assert stored.keys() == oracle.keys()
    for name, value in oracle.items():
        same = value if isinstance(value, str) else pytest.approx(value, rel=1e-6)
        assert stored[name] == same, name


# the trigger


def test_token_flow_is_the_mean_over_deep_layers_and_vectors() -> None:
    places = places_of(3, 4, 5, 2)
    maps = random_maps(1, LAYERS, places)
    truth = [np.mean([maps[layer, i, j] for layer in (1, 2) for j in places.p]) for i in places.r_rows]
    assert flow.token_flow(instance(maps, places), range(1, 3)) == pytest.approx(np.array(truth))


def planted(s_T: list[float], steps: tuple[int, ...] | None = None, layers: int = 3) -> Instance:
    """An instance whose rationale token t gets s_T[t]."""
    places = Places(2, 3, steps or (0,) * len(s_T))
    return instance(flow_maps(s_T, places, layers), places)


def test_affected_tokens_by_hand() -> None:
    # former half 1, 2, 3: beta is 2; of the latter 2.5, 2, 1, 9 two exceed it, and equality does not
    one = planted([1, 2, 3, 2.5, 2, 1, 9])
    found, share = affected_in(one, DEEP, Trigger())
    assert (found, share) == ([False] * 3 + [True, False, False, True], 2 / 4)
    # kappa 1.25: beta is 2.5
    found, share = affected_in(one, DEEP, Trigger(kappa=1.25))
    assert (found, share) == ([False] * 6 + [True], 1 / 4)


def test_affected_tokens_look_at_the_deep_layers_only() -> None:
    places = Places(2, 3, (0,) * 4)
    maps = np.concatenate([flow_maps([1, 1, 9, 9], places, 1), flow_maps([1, 1, 1, 9], places, 1)])
    for deep, share in (([0, 0], 1.0), ([1, 1], 0.5)):
        assert affected_in(instance(maps, places), Flow(deep_layers=deep), Trigger())[1] == share


@settings(max_examples=100, deadline=None)
@given(st.floats(2**-10, 10, width=32), st.integers(1, 40), st.integers(1, 5), st.sampled_from(["token", "step"]))
def test_constant_flow_affects_nothing(value: float, tokens: int, vectors: int, granularity: str) -> None:
    one = planted([1.0] * tokens, even_steps(tokens, 4))
    flat = replace(one, vectors=vectors, row_prompt_LT=np.full_like(one.row_prompt_LT, value))
    found, share = affected_in(flat, DEEP, Trigger(granularity=granularity))
    assert (any(found), share) == (False, 0)


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_short_rationales(tokens: int) -> None:
    found, share = affected_in(planted([1.0, 5, 5][:tokens]), DEEP, Trigger())
    assert found == [False, True, True][:tokens]
    assert share == (tokens > 1)


FLOWS = st.lists(st.integers(1, 50).map(float), min_size=2, max_size=12)


@settings(max_examples=50, deadline=None)
@given(FLOWS, st.floats(1e-6, 1e6), st.floats(0.2, 3), st.sampled_from(["token", "step"]))
def test_scaling_all_saliency_affects_the_same_tokens(
    s_T: list[float], scale: float, kappa: float, granularity: str
) -> None:
    one, trigger = planted(s_T, even_steps(len(s_T), 4)), Trigger(kappa=kappa, granularity=granularity)
    scaled = replace(one, row_prompt_LT=one.row_prompt_LT * scale)
    (first, share), (second, again) = (affected_in(x, DEEP, trigger) for x in (one, scaled))
    assert first == second
    assert share == again


@settings(max_examples=50, deadline=None)
@given(FLOWS, st.lists(st.floats(0.1, 5), min_size=2, max_size=5))
def test_a_larger_kappa_affects_no_more_tokens(s_T: list[float], kappas: list[float]) -> None:
    found = [affected_in(planted(s_T), DEEP, Trigger(kappa=kappa)) for kappa in sorted(kappas)]
    for (more, larger), (fewer, smaller) in pairwise(found):
        assert smaller <= larger
        assert not any(few and not many for few, many in zip(fewer, more, strict=True))


@settings(max_examples=50, deadline=None)
@given(FLOWS, st.integers(1, 5), st.sampled_from(CUTS))
def test_the_share_counts_tokens_of_the_latter_half(s_T: list[float], steps: int, cut: str) -> None:
    one = planted(s_T, even_steps(len(s_T), steps))
    found, share = affected_in(one, Flow(deep_layers=[0, 2], halves=cut), Trigger())
    former = one.former[cut]
    assert not any(found[:former])
    assert share == (np.mean(found[former:]) if former else 0)


def test_granularity_step_by_hand() -> None:
    # steps of means 1, 3 | 2.5, 1.5, 4: beta is 2; two of three steps affected, with all of their tokens
    s_T = [1, 1, 2, 4, 1, 4, 1.5, 4, 4, 4]
    steps = (0, 0, 1, 1, 2, 2, 3, 4, 4, 4)
    found, share = affected_in(planted(s_T, steps), DEEP, Trigger(granularity="step"))
    assert (found, share) == ([False] * 4 + [True, True, False, True, True, True], 2 / 3)
    # by tokens: beta is 9 / 5, and 4, 4, 4, 4 of the last five exceed it
    assert affected_in(planted(s_T, steps), DEEP, Trigger())[1] == 4 / 5


def test_one_step_has_no_former_half() -> None:
    one = planted([1, 1, 9, 9])
    assert affected_in(one, DEEP, Trigger(granularity="step"))[1] == 0
    assert affected_in(one, Flow(deep_layers=[0, 2], halves="steps"), Trigger())[1] == 0
    assert affected_in(one, DEEP, Trigger())[1] == 1


# the locator


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(0, 999), st.data())
def test_column_saliency_equals_brute_force(places: Places, seed: int, data: st.DataObject) -> None:
    maps, shallow = random_maps(seed, LAYERS, places), range(1, 3)
    one = instance(maps, places, band=shallow)
    marks = np.array(data.draw(st.lists(st.booleans(), min_size=places.tokens, max_size=places.tokens)))
    touched = [i for i, mark in zip(places.r_rows, marks, strict=True) if mark] or places.r_rows
    expected = {
        "question_and_rationale": places.q_rows + places.r_rows,
        "rationale": places.r_rows,
        "affected": touched,
    }
    for receivers, rows in expected.items():
        truth = [np.mean([maps[layer, i, j] for layer in shallow for i in rows]) for j in places.p]
        assert column_saliency(one, shallow, receivers, marks) == pytest.approx(np.array(truth)), receivers


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.data(), st.sampled_from(["question_and_rationale", "rationale", "affected"]))
def test_mass_in_one_column_is_located(places: Places, data: st.DataObject, receivers: str) -> None:
    k = data.draw(st.integers(0, places.vectors - 1))
    maps = np.zeros((LAYERS, places.size, places.size))
    maps[:, places.p[k] + 1 :, places.p[k]] = 1
    table = pd.DataFrame([saliency_row(maps, places, band=range(LAYERS))])
    made = pd.DataFrame([generation("x", "test", "1")])
    settled = Flow(shallow_layers=[0, 2], deep_layers=[0, 2])
    found = readings_of(table, made, settled, Trigger(), Locate(receivers=receivers)).iloc[0]
    assert found["located"] == [k]
    assert found["accumulation"] == 1


def test_z_and_share_of_the_largest() -> None:
    # mean 2, population standard deviation sqrt(3)
    assert flow.largest_z(np.array([1.0, 1, 1, 5])) == pytest.approx(3 / math.sqrt(3))
    assert flow.largest_share(np.array([1.0, 1, 1, 5])) == 5 / 8
    assert math.isnan(flow.largest_z(np.array([2.0, 2])))
    assert math.isnan(flow.largest_share(np.zeros(3)))


@given(st.floats(2**-10, 10), st.integers(1, 40))
def test_equal_values_have_no_z(value: float, vectors: int) -> None:
    assert math.isnan(flow.largest_z(np.full(vectors, value)))


# S_IFP


def test_s_ifp_by_hand() -> None:
    # deep layers 1 and 2: means 3, 2 and 1
    blocks = {"p→latter": [9, 2, 4], "q→latter": [9, 1, 3], "former→latter": [9, 0, 2]}
    arrays = {name: np.array(values, dtype=float) for name, values in blocks.items()}
    assert flow.s_ifp(arrays, range(1, 3)) == (pytest.approx(0.5), 3)
    arrays["former→latter"][1] = math.nan
    ratio, raw = flow.s_ifp(arrays, range(1, 3))
    assert math.isnan(ratio)
    assert raw == 3


@settings(max_examples=30, deadline=None)
@given(SHAPES, st.integers(0, 999), st.floats(1e-6, 1e6))
def test_scaling_changes_raw_values_only(places: Places, seed: int, scale: float) -> None:
    maps, settled = random_maps(seed, LAYERS, places), Flow(shallow_layers=[0, 1], deep_layers=[1, 2])
    made = pd.DataFrame([generation("x", "test", "1")])
    one, other = (
        readings_of(pd.DataFrame([saliency_row(m, places)]), made, settled, Trigger(), Locate()).iloc[0]
        for m in (maps, maps * scale)
    )
    for name in ("s_ifp", "accumulation", "accumulation_z", "affected_share", "located"):
        assert other[name] == pytest.approx(one[name], nan_ok=True), name
    assert other["flow_latter"] == pytest.approx(one["flow_latter"] * scale, nan_ok=True)


# readings


def read(
    rows: dict[str, tuple[list[float], str | None]],
    trigger: Trigger | None = None,
    locate: Locate | None = None,
) -> pd.DataFrame:
    """Readings of questions given by their flow and their extracted answer."""
    measured = [
        saliency_row(flow_maps(s, Places(3, 2, (0,) * len(s)), column=1, peak=2.0), Places(3, 2, (0,) * len(s)), key)
        for key, (s, _) in rows.items()
    ]
    made = [generation(key, "test", answer) for key, (_, answer) in reversed(rows.items())]
    table = readings_of(pd.DataFrame(measured), pd.DataFrame(made), Flow(), trigger or Trigger(), locate or Locate())
    return table.set_index("problem_id")


CASES: dict[str, tuple[list[float], str | None]] = {
    "good": ([1, 1, 2, 2], "1"),
    "short": ([1, 2, 2], "1"),
    "silent": ([1, 1, 2, 2], None),
    "empty": ([1, 1, 1, 2], ""),
}


def test_short_rationales_and_missing_answers_are_not_eligible() -> None:
    found = read(CASES)
    assert found["eligible"].to_dict() == {"good": True, "short": False, "silent": False, "empty": True}
    assert found["eligible"].dtype == bool
    assert found["affected_share"].to_dict() == {"good": 1, "short": 1, "silent": 1, "empty": 0.5}
    assert read(CASES, Trigger(min_tokens=3))["eligible"]["short"]
    assert not read(CASES, Trigger(min_tokens=5))["eligible"].any()


def test_readings_carry_what_the_maps_say() -> None:
    found = read(CASES, locate=Locate(masked_vectors=2)).loc["good"]
    # 4 rationale rows give 1, 1, 2, 2 and twice that to vector 1; one question row gives 1 to each
    assert found["located"] == [1, 0]
    assert found["accumulation"] == pytest.approx(13 / 27)
    assert (found["vectors"], found["rationale_tokens"], found["nll"]) == (3, 4, 0.5)
    # latter rows: 2, 4, 2 from the prompt, 1 from each other column
    assert found["flow_latter"] == pytest.approx(8 / 3)
    assert found["s_ifp"] == pytest.approx((8 / 3) / (8 / 3 + 2))


def test_equal_columns_are_located_from_the_left() -> None:
    places = Places(4, 2, (0,) * 4)
    table = pd.DataFrame([saliency_row(flow_maps([1, 1, 1, 1], places), places)])
    made = pd.DataFrame([generation("x", "test", "1")])
    found = readings_of(table, made, Flow(), Trigger(), Locate(masked_vectors=3)).iloc[0]
    assert found["located"] == [0, 1, 2]
    assert math.isnan(found["accumulation_z"])


def test_generations_and_saliency_must_be_of_the_same_questions() -> None:
    places = Places(1, 2, (0,) * 4)
    measured = pd.DataFrame([saliency_row(flow_maps([1] * 4, places), places, key) for key in ("a", "b")])
    made = pd.DataFrame([generation(key, "test", "1") for key in ("a", "b")])
    with pytest.raises(DpcError, match=r"1 generations have no saliency, e\.g\. b; run extract_saliency again"):
        readings_of(measured.head(1), made, Flow(), Trigger(), Locate())
    with pytest.raises(DpcError, match=r"saliency of b has no generation; run extract_saliency again"):
        readings_of(measured, made.head(1), Flow(), Trigger(), Locate())


def test_no_questions_give_an_empty_table() -> None:
    places = Places(1, 2, (0,) * 4)
    measured = pd.DataFrame([saliency_row(flow_maps([1] * 4, places), places)])
    made = pd.DataFrame([generation("x", "test", "1")])
    found = readings_of(measured.head(0), made.head(0), Flow(), Trigger(), Locate())
    assert found.empty
    assert {"affected_share", "eligible", "located"} <= set(found)

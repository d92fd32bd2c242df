"""Which heads ACT is switched on in: likelihoods against whole passes, a planted sink, chance, and the stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dpc.analysis.studies.head_selection import Gain, confirm, heads_of, paired_gain, select
from dpc.config.methods import Act
from dpc.lm.act.head_scores import HeadScores
from dpc.lm.examples import Example
from dpc.lm.layout import layout_of
from dpc.lm.models import LanguageModel, wrap
from dpc.pipeline.cli import main
from dpc.storage import tables
from tests.lm.test_act import defined
from tests.support import resumable, tiny
from tests.support.answers import FAMILIES, prompt, questions

RULE = Act(tau=0.15, min_rows=2)


def examples(count: int = 5) -> list[Example]:
    """Questions with rationales of different lengths."""
    return [Example(ids, questions(count)[-1 - i] + [2]) for i, ids in enumerate(questions(count))]


def scorer(lm: LanguageModel, rule: Act = RULE, order: str = "bos_first") -> HeadScores:
    return HeadScores(lm, layout_of(lm, order), lambda _: prompt(lm, 7, 6), rule)


@torch.no_grad()
def by_definition(lm: LanguageModel, rule: Act, example: Example, heads: dict[int, list[int]]) -> float:
    """Return the mean NLL of a rationale from one whole pass without padding, calibrated by hand."""
    tokens = torch.tensor(example.question_ids + example.rationale_ids)
    embeds = torch.cat([lm.embedding(torch.tensor([1])), prompt(lm, 7, 6), lm.embedding(tokens)])[None]
    first = 7 + len(example.question_ids)
    with defined(lm, rule, embeds.shape[1] if rule.mode == "released" else first, heads):
        logits = lm.model(inputs_embeds=embeds, position_ids=torch.arange(embeds.shape[1])[None]).logits[0]
    targets = torch.tensor(example.rationale_ids)
    return float(torch.nn.functional.cross_entropy(logits[first - 1 : -1], targets))


@pytest.mark.parametrize("family", FAMILIES)
def test_likelihoods_are_those_of_whole_passes(family: str) -> None:
    lm, asked = tiny.model(family), examples()
    base, tried = scorer(lm).each(asked, [0, 2])
    assert np.shape(tried) == (2, 4, 5)
    assert base == pytest.approx([by_definition(lm, RULE, example, {}) for example in asked], rel=1e-4)
    for row, (layer, head) in ((0, (0, 1)), (1, (2, 3))):
        expected = [by_definition(lm, RULE, example, {layer: [head]}) for example in asked]
        assert tried[row][head] == pytest.approx(expected, rel=1e-4)
    assert np.abs(np.array(tried) - base).max() > 0.01
    union = {0: [1, 2], 2: [3]}
    expected = [by_definition(lm, RULE, example, union) for example in asked]
    assert scorer(lm).together(asked, union) == pytest.approx(expected, rel=1e-4)
    assert scorer(lm).together(asked, {}) == pytest.approx(base, rel=1e-6)


def test_the_released_function_sees_the_whole_sequence() -> None:
    lm, asked, rule = tiny.model(), examples(), Act(mode="released")
    expected = [by_definition(lm, rule, example, {1: [2]}) for example in asked]
    assert scorer(lm, rule).together(asked, {1: [2]}) == pytest.approx(expected, rel=1e-4)


def test_the_model_is_left_as_it_was() -> None:
    lm, asked = tiny.model(), examples()
    before = scorer(lm).together(asked, {})
    scorer(lm).each(asked, [0, 1, 2])
    assert lm.model.config._attn_implementation == "sdpa"
    assert not any("forward" in vars(layer) for layer in lm.model.get_decoder().layers)
    assert not any(layer._forward_pre_hooks for layer in lm.model.get_decoder().layers)
    assert scorer(lm).together(asked, {}) == before


def test_gains_are_paired_and_counted_by_hand() -> None:
    found = paired_gain([3.0, 2.0, 4.0], [2.0, 2.0, 2.0])
    assert found == Gain(1.0, pytest.approx(1 / np.sqrt(3)), 3)
    assert found.exceeds(1.7)
    assert not found.exceeds(1.8)
    assert not Gain(0.0, 0.0, 3).exceeds(0.0)  # a head that changes nothing is not kept


def table_of(base: Any, tried_HQ: Any) -> pd.DataFrame:
    return pd.DataFrame({"base": list(base), "calibrated": list(np.asarray(tried_HQ).T)})


def test_heads_are_numbered_by_layer_and_kept_where_their_gain_stands_out() -> None:
    tried = np.zeros((6, 4))
    tried[1], tried[4] = [-1, -1, -2, -1], [-1, 1, -1, 2]
    found = select(table_of(np.zeros(4), tried), [2, 5], 2.0)
    assert list(zip(found["layer"], found["head"], strict=True)) == [(2, 0), (2, 1), (2, 2), (5, 0), (5, 1), (5, 2)]
    assert found["kept"].tolist() == [False, True, False, False, False, False]
    assert found["gain"].tolist() == [0, 1.25, 0, 0, -0.25, 0]
    assert heads_of(found, "kept") == {2: [1]}


@pytest.mark.parametrize(("union", "switched_on"), [(Gain(0.3, 0.1, 9), {2: [1]}), (Gain(0.3, 0.2, 9), {}), (None, {})])
def test_without_a_confirmed_union_no_head_is_switched_on(
    union: Gain | None, switched_on: dict[int, list[int]]
) -> None:
    tried = np.zeros((3, 4))
    tried[1] = [-1, -1, -2, -1] if union else [0, 0, 0, 0]
    found = confirm(select(table_of(np.zeros(4), tried), [2], 2.0), union, 2.0)
    assert heads_of(found) == switched_on
    assert found["kept"].sum() == (1 + bool(switched_on) if union else 0)
    assert len(found) == (4 if union else 3)


def test_about_two_percent_of_heads_pass_by_chance() -> None:
    rng = np.random.default_rng(0)
    found = select(table_of(np.zeros(200), rng.normal(size=(3200, 200))), list(range(100)), 2.0)
    assert 0.015 < found["kept"].mean() < 0.032  # the normal tail beyond 2 is 2.3 %


def planted() -> LanguageModel:
    """Return a model in which head 2 of layer 1 looks at token 9 and then says token 40 instead of the rationale's 30.

    The residual stream holds the token's own embedding and nothing else, but for that head's output.
    """
    import transformers

    lm = tiny.model()
    config = transformers.LlamaConfig(
        **{**lm.model.config.to_dict(), "attention_bias": True, "num_key_value_heads": 4, "tie_word_embeddings": False}
    )
    torch.manual_seed(1)
    made = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        for layer in made.model.layers:
            layer.mlp.down_proj.weight.zero_()
            layer.self_attn.o_proj.weight.mul_(0.02)  # other heads hardly matter, and in no direction
        attention, embedding = made.model.layers[1].self_attn, made.get_input_embeddings().weight
        embedding.normal_(0, 1)
        embedding[:, 0] = 0
        embedding[9, 0] = 20
        slow = 2 * 8 + 3  # of head 2, the coordinate that rotary positions turn slowest
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight[16:24], projection.bias[16:24] = 0, 0
        attention.q_proj.bias[slow], attention.k_proj.weight[slow, 0] = 3.0, 3.0
        attention.v_proj.weight[16:24] = 0
        attention.v_proj.bias[16:24] = 0
        attention.v_proj.weight[16, 0] = 1.0  # the sink's value: says 40
        attention.v_proj.bias[17] = 1.0  # everybody's value: says 30
        attention.o_proj.weight[:, 16:24] = 0
        attention.o_proj.weight[1, 16], attention.o_proj.weight[2, 17] = 2.0, 2.0
        made.lm_head.weight.mul_(0.1)
        made.lm_head.weight[40, 1], made.lm_head.weight[30, 2] = 2.0, 2.0
        embedding[:, 1:3] = 0
    return wrap(made, lm.tokenizer, bos=True)


def test_a_planted_sink_head_is_found() -> None:
    lm, generator = planted(), torch.Generator().manual_seed(2)
    asked = []
    for _ in range(24):
        words = torch.randint(10, 29, (14,), generator=generator).tolist()
        asked.append(Example([*words[:2], 9, *words[2:]], [30, 30, 30]))
    base, tried = scorer(lm, Act()).each(asked, [0, 1, 2])
    found = select(table_of(base, np.reshape(tried, (12, 24))), [0, 1, 2], 2.0)
    best = found.loc[found["gain"].idxmax()]
    assert (best["layer"], best["head"]) == (1, 2)
    assert best["kept"]
    assert best["gain"] > 10 * found["gain"].drop(found["gain"].idxmax()).abs().max()
    union = paired_gain(base, scorer(lm, Act()).together(asked, {1: [2]}))
    assert heads_of(confirm(found.assign(kept=found["layer"].eq(1) & found["head"].eq(2)), union, 2.0)) == {1: [2]}


def test_the_stage_writes_every_head_and_keeps_none_unconfirmed(small_cell: Path, tmp_path: Path) -> None:
    assert main(resumable.commands(small_cell, tmp_path)["select_act_heads"]) == 0
    heads = tables.read(tmp_path / "heads.parquet", "act_heads")
    scores = tables.read(tmp_path / "scores.parquet", "act_scores")
    tried = heads[heads["layer"] >= 0]
    assert list(zip(tried["layer"], tried["head"], strict=True)) == [(la, h) for la in range(3) for h in range(4)]
    gold = tables.read(small_cell / "act_select.parquet", "gold")
    assert sorted(scores["problem_id"]) == sorted(gold["problem_id"])
    gains = np.stack(list(scores["base"].to_numpy()[:, None] - np.stack(list(scores["calibrated"]))))
    assert tried["gain"].to_numpy() == pytest.approx(gains.mean(0))
    assert tried["se"].to_numpy() == pytest.approx(gains.std(0, ddof=1) / np.sqrt(20))
    assert tried["kept"].tolist() == (tried["gain"] > 2 * tried["se"]).tolist()
    union = heads[heads["layer"] == -1]
    assert len(union) == tried["kept"].any()
    assert tried["confirmed"].any() == bool(union["confirmed"].any())
    again = tmp_path / "again"
    assert main(resumable.commands(small_cell, again, act={**resumable.ACT, "beta": 1.0})["select_act_heads"]) == 0
    idle = tables.read(again / "heads.parquet", "act_heads")
    assert (idle["gain"] == 0).all()
    assert not idle["kept"].any()


def test_generations_are_made_with_confirmed_heads_only(
    small_cell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tables.read(small_cell / "generations.parquet", "generations").set_index("problem_id")["text"]
    said = {}
    for name, heads in (("all", [(la, h) for la in range(3) for h in range(4)]), ("none", [])):
        resumable.write_heads(small_cell, heads)
        assert main(resumable.commands(small_cell, tmp_path / name)["generate_act"]) == 0
        said[name] = tables.read(tmp_path / name / "act.parquet", "generations")
    assert len(said["none"]) == 0
    assert "no head is confirmed: ACT's answers are prompt tuning's" in capsys.readouterr().err
    assert len(said["all"]) == resumable.SPLITS["test"]
    assert set(said["all"]["split"]) == {"test"}
    assert set(said["all"]["edit_id"]) == {"act"}
    assert (said["all"].set_index("problem_id")["text"] != base.loc[said["all"]["problem_id"]]).any()


def test_layers_outside_the_model_and_splits_too_small_are_refused(
    small_cell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(resumable.commands(small_cell, tmp_path, act={"layers": [2, 9]})["select_act_heads"]) == 1
    assert "act.layers: layer range [2, 9] does not lie in the model's layers 0 to 2" in capsys.readouterr().err
    one = tables.read(small_cell / "act_select.parquet", "gold").head(1)
    tables.write(tmp_path / "act_select.parquet", "gold", one, {})
    command = resumable.commands(small_cell, tmp_path)["select_act_heads"]
    command = [part.replace(f"--select={small_cell}", f"--select={tmp_path}") for part in command]
    assert main(command) == 1
    assert "found 1 questions, expected at least 2: set `datasets.NAME.splits.act_select`" in capsys.readouterr().err

"""A model on several cards: how many, where its layers lie, and that hooks which move tensors change no number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import dispatch_model

from dpc.config.methods import Act
from dpc.errors import DpcError
from dpc.lm import cards
from dpc.lm.act.head_scores import HeadScores
from dpc.lm.examples import Example
from dpc.lm.layout import Layout, right_padded
from dpc.lm.models import LanguageModel
from dpc.lm.saliency.measuring import measure
from dpc.lm.saliency.recorder import Reduced, Request
from dpc.prompts.tuners.prompt_tuning import Objective
from tests.support import tiny
from tests.support.answers import mixed, prompt, run
from tests.support.paths import ROOT

LAYOUT, VECTORS = Layout("bos_first", True), 4
EXAMPLES = [Example([3, 4, 5], [8, 9, 10, 11]), Example([6, 7], [12, 13, 14])]
CUDA = torch.device("cuda")


def with_hooks() -> LanguageModel:
    """Return the tiny model with the hooks that a model on several cards has."""
    lm = tiny.model()
    places = dict.fromkeys(("model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head"), "cpu")
    layers = {f"model.layers.{layer}": "cpu" for layer in range(lm.model.config.num_hidden_layers)}
    dispatch_model(lm.model, places | layers, skip_keys="past_key_values", force_hooks=True)
    assert "forward" in vars(lm.model.get_decoder().layers[0])
    return lm


def measured(lm: LanguageModel, request: Request) -> Reduced:
    batch = right_padded(
        lm, LAYOUT, prompt(lm, 0), [e.question_ids for e in EXAMPLES], [e.rationale_ids for e in EXAMPLES]
    )
    return measure(lm, LAYOUT, batch, VECTORS, [(2, 2), (1, 1)], [0, 0], request)


def test_no_operation_mixes_two_cards() -> None:
    command = [sys.executable, "-m", "tests.support.two_cards"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_hooks_change_no_number_and_stay_where_they_were() -> None:
    plain, hooked = tiny.model(), with_hooks()
    hook = vars(hooked.model.get_decoder().layers[0])["forward"]
    for request in (Request(), Request(checkpoint=True)):
        assert torch.equal(measured(plain, request).groups_BLSG, measured(hooked, request).groups_BLSG)
    rule = Act(min_rows=2, tau=0.15)
    scores = [HeadScores(lm, LAYOUT, lambda _, lm=lm: prompt(lm, 0), rule) for lm in (plain, hooked)]
    assert scores[0].each(EXAMPLES, [0, 2]) == scores[1].each(EXAMPLES, [0, 2])
    assert scores[0].together(EXAMPLES, {2: [1]}) == scores[1].together(EXAMPLES, {2: [1]})
    said = [[answer.token_ids for answer in run(lm, mixed(lm), 4)] for lm in (plain, hooked)]
    assert said[0] == said[1]
    learnt = [
        Objective(lm, LAYOUT, None, 1).gradient(prompt(lm, 0).requires_grad_(), EXAMPLES) for lm in (plain, hooked)
    ]
    assert torch.equal(learnt[0][1], learnt[1][1])
    assert vars(hooked.model.get_decoder().layers[0])["forward"] is hook


def pretend(monkeypatch: pytest.MonkeyPatch, count: int, gigabytes: float) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    card = SimpleNamespace(total_memory=int(gigabytes * 1e9))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)


def test_a_model_lies_on_as_few_cards_as_hold_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cards, "weight_bytes", lambda folder, dtype: int(26e9))
    pretend(monkeypatch, 8, 80)
    assert cards.placement(tmp_path, "bfloat16", CUDA) == {}
    pretend(monkeypatch, 8, 24)
    found = cards.placement(tmp_path, "bfloat16", CUDA)
    assert found == {"device_map": "balanced", "max_memory": {0: 21_600_000_000, 1: 21_600_000_000}}
    assert cards.placement(tmp_path, "bfloat16", torch.device("cpu")) == {}


def test_weights_that_no_card_has_room_for_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cards, "weight_bytes", lambda folder, dtype: int(26e9))
    pretend(monkeypatch, 1, 24)
    with pytest.raises(DpcError, match=r"found 1 card\(s\) of 24 GB, expected room for 26 GB of weights"):
        cards.placement(tmp_path, "bfloat16", CUDA)


def test_layers_left_on_the_host_are_refused(tmp_path: Path) -> None:
    places: dict[str, int | str] = {"model.layers.0": 0, "model.layers.1": 1}
    cards.check_spread(tmp_path, SimpleNamespace(hf_device_map=places))
    with pytest.raises(DpcError, match=r"found no room on the cards for model\.layers\.2"):
        cards.check_spread(tmp_path, SimpleNamespace(hf_device_map=places | {"model.layers.2": "cpu"}))


@pytest.mark.parametrize(("family", "is_tied"), [("llama-gqa", False), ("gemma2", True)])
def test_weights_are_weighed_by_the_config_alone(family: str, is_tied: bool, tmp_path: Path) -> None:
    model = tiny.model(family).model
    assert bool(model.config.tie_word_embeddings) == is_tied
    model.config.save_pretrained(tmp_path)
    assert cards.weight_bytes(tmp_path, "bfloat16") == 2 * sum(p.numel() for p in model.parameters())

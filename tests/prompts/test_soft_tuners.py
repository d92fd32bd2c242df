"""Low-rank prompts, mixtures and InfoPrompt: what is equal to prompt tuning, and what their formulas say."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dpc.config.catalogue import Recipe
from dpc.errors import DpcError
from dpc.lm.examples import Example, answer_span, gold_example
from dpc.lm.layout import right_padded
from dpc.lm.models import LanguageModel
from dpc.prompts import soft_prompt
from dpc.prompts.tuners import info, low_rank, mixture, tuning_of
from dpc.prompts.tuners.checkpoint import Checkpoint
from dpc.prompts.tuners.prompt_tuning import Objective, Tuning
from dpc.storage import adapter_files
from tests.prompts.test_training import LAYOUT, WIDTH, examples, recipe, whole_batch
from tests.support import tiny

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "product": ("low_rank", {"rank": 2}),
    "projected": ("low_rank", {"rank": 2, "form": "projected"}),
    "mixture": ("mixture", {"prompts": 3}),
    "info": ("info", {"worst": 9.0, "bank": 20}),
}
EQUAL: dict[str, tuple[str, dict[str, Any]]] = {
    "low_rank": ("low_rank", {"rank": 4}),
    "mixture": ("mixture", {"prompts": 1}),
    "info": ("info", {"head_weight": 0, "representation_weight": 0}),
}


def begin(lm: LanguageModel, tuner: str, options: dict[str, Any], **changes: object) -> Any:
    settings = recipe(tuner=tuner, options=options, **changes)
    return tuning_of(tuner)(lm, LAYOUT, settings, 0, answered(), examples(8), 32)


def answered() -> list[Example]:
    """Questions whose gold answer is the rationale's first token."""
    lm = tiny.model()
    return [Example(e.question_ids, e.rationale_ids, lm.decode(e.rationale_ids[:1])) for e in examples()]


def run(work: Any) -> list[float]:
    losses = []
    while not work.is_over:
        losses.append(work.advance())
    return losses


@pytest.mark.parametrize("name", EQUAL)
def test_where_a_tuner_adds_nothing_it_is_prompt_tuning_step_by_step(name: str) -> None:
    lm = tiny.model()
    work, plain = begin(lm, *EQUAL[name]), Tuning(lm, LAYOUT, recipe(), 0, examples(), examples(8), 32)
    assert run(work) == pytest.approx(run(plain), abs=1e-5)
    looks, of_plain = ([each.validation_loss for each in one.looks] for one in (work, plain))
    assert looks == pytest.approx(of_plain, abs=1e-5)
    prompt_ND = work.kept_ND[0, :-1] if name == "mixture" else work.kept_ND
    assert torch.allclose(prompt_ND, plain.kept_ND, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_where_it_adds_something_its_losses_are_others(name: str) -> None:
    lm = tiny.model()
    work, plain = begin(lm, *KINDS[name], steps=5), Tuning(lm, LAYOUT, recipe(steps=5), 0, examples(), examples(8), 32)
    assert max(abs(a - b) for a, b in zip(run(work), run(plain), strict=True)) > 1e-2


@pytest.mark.parametrize("name", KINDS)
def test_each_beats_its_own_start_and_touches_no_weight(name: str) -> None:
    lm = tiny.model()
    before = {key: p.clone() for key, p in lm.model.named_parameters()}
    work = begin(lm, *KINDS[name], steps=60)
    start = work.objective.value(work.prompt_ND.detach(), work.validation)
    run(work)
    assert work.objective.value(work.kept_ND, work.validation) < start - 0.3
    assert work.kept_step == min(work.looks, key=lambda look: look.validation_loss).step
    assert all(torch.equal(before[key], p) and p.grad is None for key, p in lm.model.named_parameters())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("steps", [1, 4, 8])
def test_one_that_was_cut_off_goes_on_to_the_same_bytes(tmp_path: Path, name: str, steps: int) -> None:
    short = {"steps": 9, "validate_every": 2, "batch_size": 5}
    lm, file = tiny.model(), tmp_path / "kept.safetensors"
    cut, again, whole = (begin(lm, *KINDS[name], **short) for _ in range(3))
    before = [cut.advance() for _ in range(steps)]
    Checkpoint(file, "this", 0).save(cut)
    Checkpoint(file, "this", 0).resume(again)
    assert before + run(again) == run(whole)
    assert torch.equal(again.kept_ND, whole.kept_ND)
    assert torch.equal(again.learned, whole.learned)
    assert again.looks == whole.looks


# low rank


@pytest.mark.parametrize("form", [low_rank.Product(5), low_rank.Projected])
def test_at_full_rank_the_first_loss_is_the_soft_prompts(form: Any) -> None:
    lm = tiny.model()
    first_ND = soft_prompt.initial(lm, Recipe(vectors=5), torch.Generator().manual_seed(1))
    made = form(first_ND) if isinstance(form, type) else form
    for rank, is_same in ((5, True), (2, False)):
        prompt_ND = made.prompt(made.start(first_ND, rank, torch.Generator().manual_seed(0)))
        losses = [Objective(lm, LAYOUT, None, 32).value(each, examples(8)) for each in (prompt_ND, first_ND)]
        assert (losses[0] == pytest.approx(losses[1], abs=1e-4)) == is_same


@pytest.mark.parametrize("form", ["product", "projected"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_rank_is_bounded_after_every_step(form: str, rank: int) -> None:
    work = begin(tiny.model(), "low_rank", {"rank": rank, "form": form}, steps=8)
    sizes = {"product": rank * (4 + WIDTH), "projected": 2 * rank * WIDTH}
    assert work.learned.numel() == sizes[form]
    while not work.is_over:
        work.advance()
        values = torch.linalg.svdvals(work.prompt_ND.detach().double())
        assert float(values[rank:].max()) < 1e-6 * float(values[0]) < float(values[rank - 1])


def test_the_slope_of_both_matrices_is_the_products() -> None:
    lm = tiny.model()
    work, batch = begin(lm, "low_rank", {"rank": 2}), answered()[:6]
    _, found = work.gradient(batch)
    _, slope_ND = whole_batch(lm, LAYOUT, work.prompt_ND, batch, None)
    left_NR, right_DR = work.learned.detach()[:4], work.learned.detach()[4:]
    by_hand = torch.cat([slope_ND @ right_DR, slope_ND.T @ left_NR])
    assert float((found - by_hand).norm() / by_hand.norm()) < 1e-5


def test_a_rank_that_no_prompt_has_is_refused() -> None:
    with pytest.raises(DpcError, match=r"options\.rank is 5; expected at most 4"):
        begin(tiny.model(), "low_rank", {"rank": 5})


def test_peft_reads_a_low_rank_prompt_as_prompt_tuning(tmp_path: Path) -> None:
    from peft import PeftModel

    lm = tiny.model()
    work = begin(lm, "low_rank", {"rank": 2}, steps=3)
    run(work)
    soft_prompt.save(work.kept_ND, tmp_path / adapter_files.WEIGHTS, tmp_path / adapter_files.CONFIG, "m", lm)
    loaded = PeftModel.from_pretrained(lm.model, tmp_path)
    assert torch.equal(loaded.prompt_encoder["default"].embedding.weight, work.kept_ND)


# InfoPrompt


@pytest.mark.parametrize("count", [0, 1, 4, 128])
def test_identical_negatives_give_the_chance_of_a_guess(count: int) -> None:
    found = info.contrast(torch.tensor(0.3), torch.full((count,), 0.3))
    assert float(found) == pytest.approx(math.log(1 + count), abs=1e-5)


@pytest.mark.parametrize(("worst", "has_slope"), [(1e-3, False), (50.0, True)])
def test_a_contrast_that_is_too_bad_has_no_gradient(
    worst: float, has_slope: bool, caplog: pytest.LogCaptureFixture
) -> None:
    lm, batch = tiny.model(), answered()[:6]
    slopes = []
    for weight in (0.0, 1.0):
        options = {"head_weight": weight, "representation_weight": weight, "worst": worst}
        slopes.append(begin(lm, "info", options).gradient(batch)[1])
    assert torch.equal(*slopes) != has_slope
    work = begin(lm, "info", {"worst": worst}, steps=2)
    with caplog.at_level(logging.INFO):
        run(work)
    assert f"{0 if has_slope else 32} of 32 contrasts were worse than {worst:g} nats" in caplog.text


def by_the_book(lm: LanguageModel, prompt_ND: Tensor, batch: list[Example], others_XD: Tensor) -> Tensor:
    """Return both contrasts of a batch, weighted .1 and .2, the plain way."""
    laid = right_padded(lm, LAYOUT, prompt_ND, [e.question_ids for e in batch], [e.rationale_ids for e in batch])
    hidden_BSD = lm.model.get_decoder()(inputs_embeds=laid.embeds_BSD, use_cache=False).last_hidden_state
    mean_D, total = prompt_ND.mean(0) / WIDTH**0.5, torch.zeros(())
    for b, example in enumerate(batch):
        class_D = lm.model.get_output_embeddings().weight[example.rationale_ids[0]]
        head_X = torch.stack([class_D @ mean_D, *(lm.embedding.weight[t] @ mean_D for t in example.question_ids)])
        state_D = hidden_BSD[b, laid.predicting_rows(b).start]
        told_X = torch.stack([state_D @ mean_D, *(other @ mean_D for other in others_XD)])
        total = total - 0.1 * head_X.log_softmax(0)[0] - 0.2 * told_X.log_softmax(0)[0]
    return total / len(batch)


@pytest.mark.parametrize("rows", [6, 4])
def test_both_losses_and_their_gradient_are_the_formulas(rows: int) -> None:
    lm, batch = tiny.model(), answered()[:6]
    work = begin(lm, "info", {"worst": 1e9})
    work.objective.rows = rows
    loss, slope_ND = work.gradient(batch)
    prompt_ND, others_XD = work.learned.detach().requires_grad_(True), work.objective.others_XD
    nll, plain_ND = whole_batch(lm, LAYOUT, prompt_ND, batch, None)
    told = by_the_book(lm, prompt_ND, batch, others_XD)
    expected_ND = plain_ND + torch.autograd.grad(told, prompt_ND)[0]
    assert loss == pytest.approx(nll + float(told.detach()), rel=1e-5)
    assert float((slope_ND - expected_ND).norm() / expected_ND.norm()) < 1e-4


def test_others_are_states_without_a_prompt_of_questions_outside_the_batch() -> None:
    lm, asked = tiny.model(), answered()
    work = begin(lm, "info", {"bank": 12, "others": 4})
    bank = info.Bank(lm, LAYOUT, asked[:12], 5)
    (longest, *_), here = bank.examples, set(map(id, bank.examples[:7]))
    laid = right_padded(lm, LAYOUT, None, [longest.question_ids], [longest.rationale_ids])
    state_D = lm.model.get_decoder()(inputs_embeds=laid.embeds_BSD).last_hidden_state[0, len(longest.question_ids)]
    assert torch.allclose(bank.states_XD[0], state_D, atol=1e-5)
    found_XD = bank.others(bank.examples[:7], 4, torch.Generator().manual_seed(0))
    rows = [int((bank.states_XD == state).all(1).nonzero()[0]) for state in found_XD]
    assert len(set(rows)) == 4
    assert all(id(bank.examples[row]) not in here for row in rows)
    assert len(work.bank.examples) == 12
    drawn_by_step = [(work.gradient(asked[12:]), work.objective.others_XD)[1] for work.step in (0, 1)]
    assert not torch.equal(*drawn_by_step)


@pytest.mark.parametrize(
    ("rationale", "answer", "tokens"),
    [
        ("Tom has 4 . #### 7", "7", [5]),
        ("Tom has 7 . #### 7", "7", [5]),
        ("#### 7 pears", "7 pears", [1, 2]),
        ("Tom has 4 . #### 7", "seven", [5]),
        ("Tom has 4 . #### 7", "", [5]),
    ],
)
def test_an_answer_is_found_where_it_stands_last(rationale: str, answer: str, tokens: list[int]) -> None:
    lm = tiny.model()
    assert list(answer_span(lm, gold_example(lm, 2, "Tom has 3 pears .", rationale, answer))) == tokens


# mixtures


def drawn(prompts: int, vectors: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(prompts, vectors + 1, WIDTH, generator=generator)


def saved(lm: LanguageModel, folder: Path, mixture_KMD: Tensor) -> soft_prompt.SoftPrompt:
    files = (folder / adapter_files.WEIGHTS, folder / adapter_files.CONFIG)
    soft_prompt.save(mixture_KMD, *files, "m", lm)
    return soft_prompt.load(files[0], lm)


def test_a_router_of_zeros_gives_its_share_of_the_first_prompt(tmp_path: Path) -> None:
    lm, mixture_KMD = tiny.model(), drawn(4)
    mixture_KMD[:, -1] = 0
    found = saved(lm, tmp_path, mixture_KMD)
    assert torch.allclose(found.of([5, 9]), mixture_KMD[0, :-1] / 4)
    assert found.vectors == 3


def test_a_question_has_its_likeliest_prompt_times_its_probability_whoever_asks_beside_it(tmp_path: Path) -> None:
    lm, mixture_KMD = tiny.model(), drawn(5)
    found, asked = saved(lm, tmp_path, mixture_KMD), [e.question_ids for e in examples(12)]
    together_BND, chosen = found.rows(asked), set()
    for ids, own_ND in zip(asked, together_BND, strict=True):
        p_K = (mixture_KMD[:, -1] @ lm.embedding.weight[ids].mean(0)).softmax(0)
        k = int(p_K.argmax())
        chosen.add(k)
        assert torch.allclose(own_ND, p_K[k] * mixture_KMD[k, :-1], atol=1e-6)
        assert torch.equal(own_ND, found.of(ids))
    assert len(chosen) > 1


@pytest.mark.parametrize("rows", [32, 4])
def test_the_mixtures_loss_and_gradient_are_those_of_prompts_in_every_row(rows: int) -> None:
    lm, batch = tiny.model(), answered()[:9]
    work = begin(lm, "mixture", {"prompts": 3})
    work.objective.rows = rows
    loss, found_KMD = work.gradient(batch)
    mixture_KMD = work.learned.detach().requires_grad_(True)
    noise_BK = torch.randn(9, 3, generator=mixture.of_step(0, 1))
    logits_BK = torch.stack([lm.embedding.weight[e.question_ids].mean(0) for e in batch]) @ mixture_KMD[:, -1].T
    p_BK = (logits_BK + noise_BK * logits_BK.detach()).softmax(-1)
    own = [p_K[k] * mixture_KMD[k, :-1] for p_K, k in zip(p_BK, p_BK.argmax(1).tolist(), strict=True)]
    laid = right_padded(lm, LAYOUT, torch.stack(own), [e.question_ids for e in batch], [e.rationale_ids for e in batch])
    hidden_BSD = lm.model.get_decoder()(inputs_embeds=laid.embeds_BSD, use_cache=False).last_hidden_state
    log_BSV = lm.logits(hidden_BSD).log_softmax(-1)
    nll = [
        -log_BSV[b, s, token]
        for b, each in enumerate(batch)
        for s, token in zip(laid.predicting_rows(b), each.rationale_ids, strict=True)
    ]
    expected = torch.stack(nll).mean()
    (expected_KMD,) = torch.autograd.grad(expected, mixture_KMD)
    assert len(set(p_BK.argmax(1).tolist())) > 1
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    for part in (slice(None, -1), slice(-1, None)):  # the router's gradient is small beside the prompts'
        difference = (found_KMD - expected_KMD)[:, part].norm()
        assert float(difference / expected_KMD[:, part].norm()) < 1e-4


def test_noise_is_the_trainings_alone_and_another_in_each_step() -> None:
    work = begin(tiny.model(), "mixture", {"prompts": 3})
    batch = answered()[:9]
    assert work.gradient(batch)[0] == work.gradient(batch)[0] != work.objective.value(work.learned, batch)
    first = work.gradient(batch)[0]
    work.step = 1
    assert work.gradient(batch)[0] != first


def test_routers_start_orthogonal() -> None:
    router_KD = begin(tiny.model(), "mixture", {"prompts": 4}).learned.detach()[:, -1]
    assert torch.allclose(router_KD @ router_KD.T, torch.eye(4), atol=1e-5)


def test_peft_refuses_a_mixture(tmp_path: Path) -> None:
    from peft import PeftModel

    lm = tiny.model()
    saved(lm, tmp_path, drawn(2))
    with pytest.raises((KeyError, ValueError)):
        PeftModel.from_pretrained(lm.model, tmp_path)
    with pytest.raises(DpcError, match="peft_type is 'MIXTURE_OF_PROMPTS'; expected PROMPT_TUNING"):
        soft_prompt.adapter(tmp_path, lm, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tuner": "low_rank", "options": {"rang": 2}}, "unknown key `rang`; did you mean 'rank'"),
        ({"tuner": "low_rank", "options": {"rank": 0}}, "rank"),
        ({"tuner": "low_rank", "options": {"form": "sum"}}, "form"),
        ({"tuner": "mixture", "options": {"prompts": 0}}, "prompts"),
        ({"tuner": "info", "options": {"head_weight": -1}}, "head_weight"),
        ({"tuner": "info", "options": {"worst": 0}}, "worst"),
        ({"tuner": "mixture", "adapter": "somewhere"}, "one prompt for all questions, and tuner mixture makes one for"),
    ],
)
def test_wrong_options_are_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        recipe(**changes)

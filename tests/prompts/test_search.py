"""Searches for discrete prompts: what all share, and each tuner against an oracle."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dpc.config.catalogue import Recipe
from dpc.errors import DpcError
from dpc.lm.layout import right_padded
from dpc.prompts import soft_prompt
from dpc.prompts.tuners import greater, pez, rlprompt
from dpc.prompts.tuners.prompt_tuning import Objective
from dpc.prompts.tuners.vocabulary import allowed, ordinary
from tests.support import tiny
from tests.support.searches import LAYOUT, OPTIONS, begin, done, examples

TUNERS = sorted(OPTIONS)


@pytest.mark.parametrize("name", TUNERS)
def test_a_search_that_was_cut_at_any_step_ends_as_the_whole_one(name: str, still_clocks: None) -> None:
    whole = done(begin(name))
    for cut in range(whole.step):
        first = done(begin(name), cut)
        again = begin(name)
        again.resume(*first.state())
        done(again)
        assert (again.kept_ids, again.kept_step, again.trials) == (whole.kept_ids, whole.kept_step, whole.trials)
        assert repr(again.looks) == repr(whole.looks)
        assert again.cost == whole.cost
        assert all(torch.equal(a, b) for a, b in zip(again.state()[0].values(), whole.state()[0].values(), strict=True))


@pytest.mark.parametrize("name", TUNERS)
def test_the_reported_loss_is_that_of_the_token_ids_and_no_weight_has_a_gradient(name: str) -> None:
    lm = tiny.model()
    search = done(begin(name, lm))
    best = min(look.validation_loss for look in search.looks)
    laid = right_padded(
        lm, LAYOUT, None,
        [[*search.kept_ids, *e.question_ids] for e in search.validation], [e.rationale_ids for e in search.validation],
    )  # fmt: skip
    log_BSV = lm.model(inputs_embeds=laid.embeds_BSD).logits.log_softmax(-1)
    nll = [-log_BSV[b, s, t] for b, ids in enumerate(laid.rationale_ids)
           for s, t in zip(laid.predicting_rows(b), ids, strict=True)]  # fmt: skip
    assert float(torch.stack(nll).mean()) == pytest.approx(best, abs=1e-5)
    assert all(p.grad is None for p in lm.model.parameters())
    assert torch.equal(search.kept_ND, lm.embedding.weight[search.kept_ids])
    assert search.tokens.text == lm.decode(search.kept_ids)


@pytest.mark.parametrize("name", ["random_text", "pez", "greater", "rlprompt"])
def test_the_best_prompt_is_better_than_the_first_and_passes_are_those_foretold(name: str) -> None:
    search = done(begin(name, seed=1))
    assert min(look.validation_loss for look in search.looks) < search.looks[0].validation_loss
    foretold = begin(name).options.passes(len(search.validation))  # type: ignore[attr-defined]
    assert 0.5 * foretold < search.cost.passes <= foretold


def test_costs_count_what_goes_through_the_model() -> None:
    search, rows = done(begin("pez", fluency=0.0, perplexity=0.0)), []
    again = begin("pez", fluency=0.0, perplexity=0.0)
    layer = again.lm.model.get_decoder().layers[0]
    layer.register_forward_hook(lambda _, given, output: rows.append(given[0].shape[:2]))
    done(again)
    prefixes = [shape for shape in rows if tuple(shape) == (1, 5)]
    others = sum(shape[0] for shape in rows) - len(prefixes)
    assert again.cost.passes == search.cost.passes == others == 6 * 4 + 4 * 4
    assert again.cost.gradients == 24
    assert len(prefixes) == 10


# PEZ


def test_vocabulary_rows_project_to_themselves() -> None:
    lm = tiny.model()
    with torch.no_grad():
        lm.embedding.weight[::2] *= 3  # by products alone, long rows would be the nearest to others
    search = begin("pez", lm)
    assert isinstance(search, pez.Tuning)
    pool = ordinary(search.lm)
    assert search.projected(soft_prompt.spelled(search.lm, pool)) == pool
    assert not set(pool) & set(search.lm.tokenizer.all_special_ids)


@pytest.mark.parametrize("terms", [{"fluency": 0.0, "perplexity": 0.0}, {"fluency": 0.3, "perplexity": 0.01}])
def test_scaling_the_continuous_prompt_changes_neither_loss_nor_gradient(terms: dict[str, float]) -> None:
    search = begin("pez", **terms)
    assert isinstance(search, pez.Tuning)
    batch = search.batches.next()
    loss, slope_ND = search.gradient(search.projected(search.prompt_ND), batch)
    scaled, same_ND = search.gradient(search.projected(7 * search.prompt_ND), batch)
    assert (loss, slope_ND.tolist()) == (scaled, same_ND.tolist())
    drawn_ND = torch.randn(100, search.prompt_ND.shape[1], generator=torch.Generator().manual_seed(0))
    assert search.projected(drawn_ND) == search.projected(drawn_ND / 64) == search.projected(drawn_ND * 64)


def test_one_step_of_descent_is_hand_arithmetic() -> None:
    options = {"optimiser": "sgd", "learning_rate": 2.0, "clip": 0.01, "fluency": 0.25, "perplexity": 0.001}
    search, twin = begin("pez", **options), begin("pez", **options)
    assert isinstance(search, pez.Tuning)
    assert isinstance(twin, pez.Tuning)
    start_ND, batch = twin.prompt_ND.detach().clone(), twin.batches.next()
    ids = twin.projected(start_ND)
    at_ND = twin.lm.embedding.weight[ids].clone().requires_grad_(True)
    laid = right_padded(twin.lm, LAYOUT, at_ND, [e.question_ids for e in batch], [e.rationale_ids for e in batch])
    log_BSV = twin.lm.model(inputs_embeds=laid.embeds_BSD).logits.log_softmax(-1)
    task = torch.stack([-log_BSV[b, s, t] for b, row in enumerate(laid.rationale_ids)
                        for s, t in zip(laid.predicting_rows(b), row, strict=True)]).mean()  # fmt: skip
    own = -torch.stack([log_BSV[0, j, token] for j, token in enumerate(ids)]).mean()
    loss = 0.25 * own + 0.75 * task + 0.001 * own.exp()
    (slope_ND,) = torch.autograd.grad(loss, at_ND)
    found = search.advance()
    assert found == pytest.approx(float(loss.detach()), rel=1e-5)
    expected_ND = start_ND - 2.0 * slope_ND * 0.01 / slope_ND.norm()
    assert torch.allclose(search.prompt_ND, expected_ND, atol=1e-6)


# GReaTer


def greater_search(**changed: object) -> greater.Tuning:
    search = begin("greater", **changed)
    assert isinstance(search, greater.Tuning)
    return search


def test_the_gradient_in_a_one_hot_vector_is_the_candidates_embeddings_times_that_in_the_vector() -> None:
    search = greater_search()
    reasoned, ids, position, weight = search.reasoned(search.token_ids), search.token_ids, 0, search.options.fluency
    slope_ND = search.gradient(ids, reasoned)
    candidates = search.candidates(position)
    one_hot_C = torch.tensor([float(c == ids[position]) for c in candidates]).requires_grad_(True)
    rows = search.lm.embedding.weight
    prompt_ND = torch.stack([one_hot_C @ rows[candidates], rows[ids[1]]])  # the last one's NLL depends on it, too
    losses = torch.stack([nll_K.mean() for nll_K, _ in search._answers(prompt_ND, reasoned)])
    total = losses.sum() + len(reasoned) * weight * search.own_nll(prompt_ND, ids)
    (direct_C,) = torch.autograd.grad(total, one_hot_C)
    assert ids[position] in candidates
    assert torch.allclose(rows[candidates] @ slope_ND[position], direct_C, rtol=1e-4, atol=1e-4)


def test_trying_all_candidates_is_the_exhaustive_minimum() -> None:
    search = greater_search(steps=1, tried=200, top_k=160, tokens="ordinary")
    twin = greater_search(steps=1, tried=200, top_k=160, tokens="ordinary")
    before = search.token_ids[-1]
    everything = [token for token in ordinary(search.lm) if token != before]
    scores = {token: twin.score([token, *twin.token_ids[1:]]) for token in everything}
    search.advance()
    assert {trial.token_ids[0] for trial in search.trials[1:]} == {*everything}
    assert search.token_ids[0] == min(scores, key=scores.__getitem__)
    assert min(trial.score for trial in search.trials[1:-3]) == pytest.approx(min(scores.values()))


def test_no_gradient_flows_through_the_generation() -> None:
    search = greater_search()
    reasoned = search.reasoned(search.token_ids)
    made: list[Tensor] = []
    search.lm.model.requires_grad_(True)  # or nothing would have a gradient anyway
    handle = (
        search.lm.model.get_decoder()
        .layers[0]
        .register_forward_hook(lambda _, given, output: made.append(output[0] if isinstance(output, tuple) else output))
    )
    with torch.enable_grad():
        again = search.reasoned(search.token_ids)
    handle.remove()
    assert again == reasoned
    assert made
    assert not any(state.requires_grad for state in made)
    assert all(isinstance(token, int) for example in reasoned for token in example.rationale_ids)


def test_the_gradient_is_that_of_the_answers_tokens_alone_at_their_temperature() -> None:
    search = greater_search(fluency=0.0)
    reasoned, prompt_ND = search.reasoned(search.token_ids), soft_prompt.spelled(search.lm, search.token_ids)
    for example, (nll_K, is_right) in zip(reasoned, search._answers(prompt_ND, reasoned), strict=True):
        ids = [1, *search.token_ids, *example.question_ids, *example.rationale_ids]
        count = len(search.lm.encode(example.answer))
        assert example.rationale_ids[-count:] == search.lm.encode(example.answer)
        logits_KV = search.lm.model(input_ids=torch.tensor([ids])).logits[0, -count - 1 : -1]
        targets_K = torch.tensor(ids[-count:])
        assert torch.allclose(nll_K, functional.cross_entropy(logits_KV / 0.2, targets_K, reduction="none"), atol=1e-4)
        assert is_right == bool((logits_KV.argmax(-1) == targets_K).all())
    wrong = [not right for _, right in search._answers(prompt_ND, reasoned)]
    released = greater_search(choose="released")
    own = float(released.own_nll(prompt_ND, released.token_ids))
    assert released.score(released.token_ids) == pytest.approx(sum(wrong) / len(wrong) + 0.02 * own, rel=1e-5)


def test_candidates_are_what_all_questions_of_a_group_propose() -> None:
    search = greater_search(top_k=30, groups=1, group_size=6, tokens="ordinary")
    proposed = []
    for item in search.items:
        context = [1, *item.question_ids, *search.link_ids, *search.token_ids[:1]]
        logits_V = search.lm.model(input_ids=torch.tensor([context])).logits[0, -1]
        proposed.append(set(logits_V.topk(30).indices.tolist()))
    common = set.intersection(*proposed) & set(ordinary(search.lm)) - {search.token_ids[0]}
    assert len(common) >= search.options.fewest  # or more would be proposed
    assert search.candidates(1) == sorted(common | {search.token_ids[1]})


def test_a_token_that_no_pool_holds_may_stay_and_a_placeholder_may_not() -> None:
    search = greater_search(start="Tom ####", top_k=5000, tokens="plain")
    assert search.token_ids[1] not in search.pool
    assert search.token_ids[1] in search.candidates(1)
    search.token_ids = [search.token_ids[0]] * 2
    assert search.token_ids[1] not in search.candidates(1)


def test_a_validation_loss_that_is_not_finite_is_refused() -> None:
    search = begin("pez")
    search.lm.model.get_output_embeddings().weight.data[0] = float("nan")
    with pytest.raises(DpcError, match="validation loss is nan at step 7; expected a finite number"):
        search.try_out([5, 6], step=7)
    assert search.looks == []


def test_more_proposals_than_there_are_tokens_are_all_tokens() -> None:
    search = greater_search(top_k=5000, tokens="ordinary")
    before = search.token_ids[-1]
    assert search.candidates(0) == [token for token in ordinary(search.lm) if token != before]


def test_a_prompt_grows_to_its_length_and_wraps_at_a_full_stop() -> None:
    search, places = greater_search(), []
    stop = search.lm.encode(".")[0]
    for last in (None, None, None, stop):
        search.position = len(search.token_ids) - 1
        search.token_ids[-1] = last or search.token_ids[-1]
        search._move_on()
        places.append((search.position, len(search.token_ids)))
    assert places == [(2, 3), (3, 4), (0, 4), (0, 4)]


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [("step", True), (".", True), ("A", True), (":", False), ("####", False), ("12", False), ("<eos>", None)],
)
def test_tokens_that_may_stand_in_a_prompt(text: str, is_plain: bool | None) -> None:
    lm = tiny.model()
    (token,) = lm.encode(text)
    assert (token in allowed(lm, "plain")) == bool(is_plain)
    assert (token in allowed(lm, "ordinary")) == (is_plain is not None)


# RLPrompt


def test_the_loss_of_soft_q_learning_on_a_case_worked_by_hand() -> None:
    q, v, target, reward = ([[1.0, 2.0]], [[1.5, 2.5]], [[1.0, 3.0]], [4.0])
    # A = -.5, -.5; V' differences: 3 - 1 = 2, 4 - 3 = 1; from t on: A sums -1, -.5 against 4 - 1 = 3, 4 - 3 = 1
    single = (-0.5 - 2) ** 2 + (-0.5 - 1) ** 2
    whole = (-1 - 3) ** 2 + (-0.5 - 1) ** 2
    found = rlprompt.soft_q_loss(*map(torch.tensor, (q, v, target, reward)))
    assert float(found) == pytest.approx((single + whole) / 2)


def test_a_constant_added_to_all_rewards_changes_nothing() -> None:
    search = begin("rlprompt")
    assert isinstance(search, rlprompt.Tuning)
    tokens_BT, hidden_BTD = search._sampled(3)
    reward_B = torch.tensor([0.25, -1.5, 0.5])
    losses = [search.loss(tokens_BT, hidden_BTD, rlprompt.standardised(reward_B + c, 5.0)) for c in (0.0, 8.0)]
    assert losses[0].tolist() == losses[1].tolist()
    assert rlprompt.standardised(torch.ones(4), 5.0).tolist() == [0.0] * 4
    z_B = rlprompt.standardised(reward_B, 5.0)
    assert float(z_B.std(correction=0)) == pytest.approx(5, rel=1e-3)


def test_rewards_are_the_tasks_less_the_log_perplexity() -> None:
    search = begin("rlprompt", task=2.0, perplexity=0.5)
    assert isinstance(search, rlprompt.Tuning)
    batch, prompts = search.batches.next(), [[5, 9, 30, 7], [8, 8, 8, 8], [5, 9, 30, 7]]
    nll_B, reward_B = search._rewarded(prompts, batch)
    objective = Objective(search.lm, LAYOUT, None, 5)
    for ids, nll, reward in zip(prompts, nll_B.tolist(), reward_B.tolist(), strict=True):
        prompt_ND = soft_prompt.spelled(search.lm, ids)
        log_SV = search.lm.model(input_ids=torch.tensor([[1, *ids]])).logits[0].log_softmax(-1)
        own = -sum(float(log_SV[j, token]) for j, token in enumerate(ids)) / 4
        assert nll == pytest.approx(objective.value(prompt_ND, batch), abs=1e-6)
        assert reward == pytest.approx(-2 * nll - 0.5 * own, abs=1e-4)


def test_the_reward_for_labels_is_their_gap_as_published() -> None:
    log_EL = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.1, 0.4, 0.4]]).log() - 3.0
    # gold before the next likeliest by .5; behind the likeliest by .5; a tie is no right answer
    found_E = rlprompt.label_rewards(log_EL, torch.tensor([0, 1, 2]))
    assert found_E.tolist() == pytest.approx([0.5 * 200, -0.5 * 180, 0.0 * 180], abs=1e-4)


LABELS = ("step by step", "Tom", "has it")
"""Of three tokens, one and two."""


def test_where_questions_have_labels_prompts_are_rewarded_for_their_likelihood() -> None:
    search = begin("rlprompt", first_tokens=1, task=2.0, perplexity=0.5, perplexity_form="plain")
    assert isinstance(search, rlprompt.Tuning)
    batch = [replace(e, labels=LABELS, answer=LABELS[i % 3]) for i, e in enumerate(search.examples[:4])]
    prompts = [[5, 9, 30, 7], [8, 8, 8, 8], [5, 9, 30, 7]]
    nll_B, reward_B = search._rewarded(prompts, batch)
    assert search.cost.passes == 2 * (4 * 3 + 1)
    for ids, nll, reward in zip(prompts, nll_B.tolist(), reward_B.tolist(), strict=True):
        losses, rewards = [], []
        for example in batch:
            logs = {}
            for label in LABELS:
                said = [1, *ids, *example.question_ids, *search.lm.encode(label)]
                log_SV = search.lm.model(input_ids=torch.tensor([said])).logits[0].log_softmax(-1)
                count = len(search.lm.encode(label))
                logs[label] = sum(float(log_SV[s - 1, said[s]]) for s in range(len(said) - count, len(said)))
            chances = {label: math.exp(log) / sum(map(math.exp, logs.values())) for label, log in logs.items()}
            gold = chances.pop(example.answer)
            gap = gold - max(chances.values())
            rewards.append(gap * (200 if gap > 0 else 180))
            losses.append(-logs[example.answer])
        log_SV = search.lm.model(input_ids=torch.tensor([[1, *ids]])).logits[0].log_softmax(-1)
        own = -sum(float(log_SV[j, token]) for j, token in enumerate(ids)) / 4
        assert nll == pytest.approx(sum(losses) / (3 + 1 + 2 + 3), abs=1e-4)
        assert reward == pytest.approx(2 * sum(rewards) / 4 - 0.5 * math.exp(own), rel=1e-4, abs=1e-2)


def test_several_prompts_are_scored_together_as_each_by_itself() -> None:
    lm = tiny.model()
    made, (together, alone, whole) = examples(lm), [Objective(lm, LAYOUT, 3, 7) for _ in range(3)]
    prompts_CND = torch.stack([soft_prompt.spelled(lm, ids) for ids in ([5, 9], [8, 8], [30, 7])])
    sums_CE = together.sums(prompts_CND, made)
    each_CE = [[3 * alone.value(prompt_ND, [example]) for example in made] for prompt_ND in prompts_CND]
    assert torch.allclose(sums_CE, torch.tensor(each_CE, dtype=torch.float64), atol=1e-4)
    means_C = [whole.value(prompt_ND, made) for prompt_ND in prompts_CND]
    assert means_C == pytest.approx((sums_CE.sum(1) / together.tokens(made)).tolist(), abs=1e-5)
    assert together.cost == whole.cost
    assert together.tokens(made) == 3 * len(made)


def test_only_the_policy_learns_and_the_target_follows_slowly() -> None:
    search = begin("rlprompt", polyak=0.5)
    assert isinstance(search, rlprompt.Tuning)
    before = [p.clone() for p in search.target.parameters()]
    search.advance()
    assert all(torch.equal(a, b) for a, b in zip(before, search.target.parameters(), strict=True))  # it moves first
    fast = [p.detach().clone() for p in search.policy.parameters()]
    search.advance()
    for old, new, goal in zip(before, search.target.parameters(), fast, strict=True):
        assert torch.allclose(new, (old + goal) / 2)
    assert all(p.grad is None for p in [*search.lm.model.parameters(), *search.target.parameters()])


# options


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("written", {"text": ""}, "0 tokens, expected 1 to recipes.NAME.vectors (4)"),
        ("written", {"text": "step by step by step"}, "5 tokens, expected 1 to recipes.NAME.vectors (4)"),
        ("written", {"text": "unheard of"}, "it holds '<pad>', which stands for no word"),
        ("greater", {"start": "Tom hasn't"}, 'recipes.NAME.options.start is "Tom hasn\'t"'),
        ("greater", {"extractor": "so"}, "recipes.NAME.options.extractor is 'so'"),
    ],
)
def test_texts_that_the_model_cannot_read_are_refused(name: str, changed: dict[str, str], said: str) -> None:
    with pytest.raises(DpcError) as caught:
        begin(name, **changed)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"tuner": "pez", "steps": 10}, "tuner pez does not read `steps`: remove it, what it can set is `options`"),
        ({"tuner": "written"}, "`options` of tuner written: `text` is missing: add it"),
        ({"tuner": "pez", "options": {"step": 10}}, "step"),
        ({"tuner": "rlprompt", "options": {"polyak": 2}}, "polyak"),
    ],
)
def test_what_a_search_does_not_read_is_refused(recipe: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Recipe.model_validate(recipe)


def test_perplexity_without_a_beginning_mark_leaves_the_first_token_out() -> None:
    search = begin("pez")
    search.layout = type(LAYOUT)("prompt_first", True)
    ids = [5, 9, 30]
    log_SV = search.lm.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    own = -(float(log_SV[0, 9]) + float(log_SV[1, 30])) / 2
    assert float(search.own_nll(soft_prompt.spelled(search.lm, ids), ids)) == pytest.approx(own, abs=1e-5)
    assert float(search.own_nll(soft_prompt.spelled(search.lm, [5]), [5])) == 0.0
    assert math.isfinite(own)

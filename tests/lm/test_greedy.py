"""The greedy token over large vocabularies, and no frozen weight multiplied by a strided slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dpc.config.methods import Act
from dpc.lm import greedy
from dpc.lm.act.head_scores import HeadScores
from dpc.lm.decoding import generate
from dpc.lm.examples import Example
from dpc.lm.greedy import next_tokens
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from dpc.lm.prefill import Calibrated
from tests.support import tiny
from tests.support.answers import FAMILIES, LIMITS, mixed, prompt, questions, run, shared

DTYPES = [torch.float32, torch.bfloat16]
ACT = Act(tau=0.05, min_rows=2)


class Strided(TorchFunctionMode):
    """Lists the shapes of strided slices that linear layers get: torch copies a frozen weight once per row then."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, ...]] = []
        self.seen = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is nn.functional.linear:
            self.seen += 1
            if args[0].dim() > 2 and not args[0].is_contiguous():
                self.found.append(tuple(args[0].shape))
        return function(*args, **(kwargs or {}))


def answers(lm: LanguageModel) -> None:
    run(lm, mixed(lm), 9)


def answers_behind_a_prefix(lm: LanguageModel) -> None:
    run(lm, shared(lm, same=7), 9)


def answers_with_act(lm: LanguageModel) -> None:
    list(generate(lm, Layout("bos_first", True), mixed(lm), LIMITS, 9, Calibrated(ACT, {1: [0, 2]})))


def scores(lm: LanguageModel) -> None:
    examples = [Example(ids, ids[::-1]) for ids in questions()]
    found = HeadScores(lm, Layout("bos_first", True), lambda _: prompt(lm, 0), ACT)
    found.together(examples, {1: [0]})
    found.each(examples, [0, 1])


@pytest.mark.parametrize("work", [answers, answers_behind_a_prefix, answers_with_act, scores])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_linear_layer_gets_a_strided_slice(family: str, work: Callable[[LanguageModel], None]) -> None:
    lm = tiny.model(family)
    with Strided() as strided:
        work(lm)
    assert strided.seen > 20
    assert strided.found == []


def test_the_mode_sees_the_trap() -> None:
    weight, hidden = torch.randn(5, 4), torch.randn(2, 3, 4)
    with Strided() as strided:
        nn.functional.linear(hidden[:, -1:], weight)
        nn.functional.linear(hidden[:, -1], weight)
        nn.functional.linear(hidden, weight)
    assert (strided.seen, strided.found) == (3, [(2, 1, 4)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["qwen2", "gemma2"])  # the latter caps its logits
@pytest.mark.parametrize("rows_at_once", [1, 3, 50])
def test_the_token_is_that_of_the_whole_models_largest_logit(
    family: str, dtype: torch.dtype, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny.model(family, dtype)
    ids_BS = torch.randint(3, 60, (11, 6), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected_B = lm.model(input_ids=ids_BS).logits[:, -1].argmax(-1)
        hidden_BSD = lm.model.get_decoder()(input_ids=ids_BS).last_hidden_state
    monkeypatch.setattr(greedy, "LOGITS_BYTES", rows_at_once * tiny.SHAPE["vocab_size"] * dtype.itemsize)
    with torch.no_grad():
        assert next_tokens(lm, hidden_BSD[:, -1]).tolist() == expected_B.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [4, 160, 5000])
def test_of_equal_logits_the_first_token_is_said(dtype: torch.dtype, width: int) -> None:
    lm = tiny.model(dtype=dtype)
    places = [[0, 1], [1, 3], [width - 2, width - 1], [0, width - 1], list(range(width))]
    head_VD = torch.zeros(width, len(places))
    for column, tied in enumerate(places):
        head_VD[tied, column] = 2.0
    lm.model.set_output_embeddings(linear(head_VD.to(dtype)))
    with torch.no_grad():
        assert next_tokens(lm, torch.eye(len(places), dtype=dtype)).tolist() == [tied[0] for tied in places]


def linear(weight_VD: Tensor) -> nn.Linear:
    made = nn.Linear(weight_VD.shape[1], len(weight_VD), bias=False)
    made.weight = nn.Parameter(weight_VD, requires_grad=False)
    return made


def test_a_batch_of_sequences_is_refused() -> None:
    lm = tiny.model()
    with pytest.raises(ValueError, match=r"the shape \(2, 1, 32\); expected a matrix, rows x width"):
        next_tokens(lm, torch.zeros(2, 1, 32))


def test_no_more_logits_than_the_limit_are_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, sizes = tiny.model(), list[int]()
    lm.model.get_output_embeddings().register_forward_hook(lambda m, i, out: sizes.append(out.nbytes))
    monkeypatch.setattr(greedy, "LOGITS_BYTES", 4 * 160 * 4)
    with torch.no_grad():
        next_tokens(lm, torch.randn(10, 32))
    assert sizes == [4 * 640, 4 * 640, 2 * 640]

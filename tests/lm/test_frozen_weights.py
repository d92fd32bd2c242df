"""No weight is copied: torch makes a batch product, a copy a sequence, of a strided 3-d slice and a frozen weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dpc.config.methods import Act
from dpc.lm import decoding
from dpc.lm.act.head_scores import HeadScores
from dpc.lm.examples import Example
from dpc.lm.layout import Layout, right_padded
from dpc.lm.models import LanguageModel
from dpc.lm.saliency.measuring import measure
from dpc.lm.saliency.recorder import Request
from dpc.lm.sparing import foldable
from dpc.prompts.planting import Planting, plant
from dpc.prompts.tuners.prompt_tuning import Objective
from tests.support import tiny

LAYOUT = Layout("bos_first", has_bos=True)
VECTORS = 5
QUESTIONS = [[7, 8, 9, 10, 11], [12, 13, 14]]
RATIONALES = [[15, 16, 17, 18], [19, 20, 21, 22, 23, 2]]
EXAMPLES = [Example(*pair) for pair in zip(QUESTIONS, RATIONALES, strict=True)]
RULE = Act(threshold="tau", tau=0.1, min_rows=1)


class BatchProducts(TorchDispatchMode):
    """Count batch products in which one of a model's weights takes part."""

    def __init__(self, lm: LanguageModel):
        super().__init__()
        self.weights = {weight.untyped_storage().data_ptr() for weight in lm.model.parameters()}
        self.found = 0

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), more: Any = None) -> Any:
        if function in (torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default):
            self.found += any(one.untyped_storage().data_ptr() in self.weights for one in given[-2:])
        return function(*given, **(more or {}))


Loop = Callable[[LanguageModel, torch.Tensor, Sequence[Example]], object]


def saliency_of(**asked: Any) -> Loop:
    def work(lm: LanguageModel, prompt_ND: torch.Tensor, examples: Sequence[Example]) -> object:
        questions, rationales = [e.question_ids for e in examples], [e.rationale_ids for e in examples]
        batch, cuts = right_padded(lm, LAYOUT, prompt_ND, questions, rationales), [(2, 2), (3, 3)][: len(examples)]
        return measure(lm, LAYOUT, batch, VECTORS, cuts, [0] * len(cuts), Request(**asked))

    return work


def answers(lm: LanguageModel, prompt_ND: torch.Tensor, examples: Sequence[Example]) -> object:
    requests = [decoding.Request(e.question_ids, prompt_ND, draft=e.rationale_ids) for e in examples]
    return list(decoding.generate(lm, LAYOUT, requests, decoding.Limits(9), 8))


def trigger(lm: LanguageModel, prompt_ND: torch.Tensor, examples: Sequence[Example]) -> object:
    requests = [decoding.Request(e.question_ids, prompt_ND) for e in examples]
    return list(decoding.generate(lm, LAYOUT, requests, decoding.Limits(9), 8, traced=1))


def scores(lm: LanguageModel, prompt_ND: torch.Tensor, examples: Sequence[Example]) -> Sequence[object]:
    work = HeadScores(lm, LAYOUT, lambda _: prompt_ND, RULE)
    return work.together(examples, {1: [0]}), work.each(examples, [1])


LOOPS: dict[str, Loop] = {
    "saliency": saliency_of(),
    "saliency, rationale rows": saliency_of(rows="rationale"),
    "saliency, full maps": saliency_of(full=(range(3),)),
    "saliency, checkpointed": saliency_of(checkpoint=True),
    "saliency, upper layers": saliency_of(layers=range(1, 3)),
    "tuning": lambda lm, prompt_ND, few: Objective(lm, LAYOUT, None, 8).gradient(prompt_ND.requires_grad_(True), few),
    "validation": lambda lm, prompt_ND, few: Objective(lm, LAYOUT, None, 8).value(prompt_ND, few),
    "planting": lambda lm, prompt_ND, few: plant(lm, LAYOUT, prompt_ND, 1, few, Planting(1, 2, 0.1), 0),
    "head scores": scores,
    "answers": answers,
    "answers, traced": trigger,
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("family", ["llama-gqa", "qwen2", "gemma2"])
@pytest.mark.parametrize("sequences", [1, 2])
def test_no_weight_takes_part_in_a_batch_product(sequences: int, family: str, loop: str) -> None:
    lm = tiny.model(family)
    prompt_ND = torch.randn(VECTORS, tiny.SHAPE["hidden_size"], generator=torch.Generator().manual_seed(1))
    with BatchProducts(lm) as products:
        LOOPS[loop](lm, prompt_ND, EXAMPLES[:sequences])
    assert products.found == 0


def test_a_strided_slice_is_noticed() -> None:
    lm, hidden_BSD = tiny.model(), torch.randn(2, 9, tiny.SHAPE["hidden_size"])
    gate, last_BSD, one_BSD = lm.model.get_decoder().layers[-1].mlp.gate_proj, hidden_BSD[:, -4:], hidden_BSD[:1, -4:]
    strided, own = [last_BSD, one_BSD, one_BSD.contiguous()], [foldable(last_BSD), foldable(one_BSD), hidden_BSD[:, -1]]
    for rows_BSD in (*strided, *own):
        with BatchProducts(lm) as products:
            gate(rows_BSD)
        assert products.found == any(rows_BSD is each for each in strided)
    assert torch.equal(foldable(last_BSD), last_BSD)
    assert foldable(one_BSD).data_ptr() == one_BSD.data_ptr()

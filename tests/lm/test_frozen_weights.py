"""No weight is copied: torch makes a batch product, a copy a sequence, of a strided 3-d slice and a frozen weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dpc.config.methods import Act
from dpc.lm.act.head_scores import HeadScores
from dpc.lm.examples import Example
from dpc.lm.layout import Layout, right_padded
from dpc.lm.models import LanguageModel
from dpc.lm.saliency.measuring import measure
from dpc.lm.saliency.recorder import Request
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


def saliency_of(**asked: Any) -> Callable[[LanguageModel, torch.Tensor], object]:
    def work(lm: LanguageModel, prompt_ND: torch.Tensor) -> object:
        batch = right_padded(lm, LAYOUT, prompt_ND, QUESTIONS, RATIONALES)
        return measure(lm, LAYOUT, batch, VECTORS, [(2, 2), (3, 3)], [0, 0], Request(**asked))

    return work


def scores(lm: LanguageModel, prompt_ND: torch.Tensor) -> Sequence[object]:
    work = HeadScores(lm, LAYOUT, lambda _: prompt_ND, RULE)
    return work.together(EXAMPLES, {1: [0]}), work.each(EXAMPLES, [1])


LOOPS: dict[str, Callable[[LanguageModel, torch.Tensor], object]] = {
    "saliency": saliency_of(),
    "saliency, rationale rows": saliency_of(rows="rationale"),
    "saliency, full maps": saliency_of(full=(range(3),)),
    "saliency, checkpointed": saliency_of(checkpoint=True),
    "saliency, upper layers": saliency_of(layers=range(1, 3)),
    "tuning": lambda lm, prompt_ND: Objective(lm, LAYOUT, None, 8).gradient(prompt_ND.requires_grad_(True), EXAMPLES),
    "validation": lambda lm, prompt_ND: Objective(lm, LAYOUT, None, 8).value(prompt_ND, EXAMPLES),
    "planting": lambda lm, prompt_ND: plant(lm, LAYOUT, prompt_ND, 1, EXAMPLES, Planting(1, 2, 0.1), 0),
    "head scores": scores,
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("family", ["llama-gqa", "qwen2", "gemma2"])
def test_no_weight_takes_part_in_a_batch_product(family: str, loop: str) -> None:
    lm = tiny.model(family)
    prompt_ND = torch.randn(VECTORS, tiny.SHAPE["hidden_size"], generator=torch.Generator().manual_seed(1))
    with BatchProducts(lm) as products:
        LOOPS[loop](lm, prompt_ND)
    assert products.found == 0


def test_a_strided_slice_is_noticed() -> None:
    lm, hidden_BSD = tiny.model(), torch.randn(2, 9, tiny.SHAPE["hidden_size"])
    gate = lm.model.get_decoder().layers[-1].mlp.gate_proj
    for rows_BSD, count in ((hidden_BSD[:, -4:], 1), (hidden_BSD[:, -4:].contiguous(), 0), (hidden_BSD[:, -1], 0)):
        with BatchProducts(lm) as products:
            gate(rows_BSD)
        assert products.found == count

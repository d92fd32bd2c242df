"""What keeps less memory changes no bit, and keeps less."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from dpc.lm import sparing
from dpc.lm.models import LanguageModel
from dpc.lm.saliency.tiled import Passage, tiled
from dpc.lm.sparing import checkpointed, lean_layers, rows_within
from tests.support import tiny
from tests.support.answers import FAMILIES

WAYS: dict[str, Callable[[LanguageModel], object]] = {
    "plain": lambda lm: nullcontext(),
    "lean": lean_layers,
    "checkpointed": lambda lm: checkpointed(lm, is_wanted=True),
}


class Alive(TorchDispatchMode):
    """Know which results of operations are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), more: Any = None) -> Any:
        found = function(*given, **(more or {}))
        for tensor in found if isinstance(found, tuple) else (found,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return found

    def bytes(self) -> int:
        return sum(size for storage, size in self.made.values() if not storage.expired())


def passed(lm: LanguageModel, way: str) -> tuple[Tensor, Tensor, int]:
    """Return outputs, the gradient in the inputs, and the bytes kept between the two passes."""
    embeds_BSD = torch.randn(2, 60, tiny.SHAPE["hidden_size"], generator=torch.Generator().manual_seed(1))
    embeds_BSD = embeds_BSD.to(lm.embedding.weight.dtype).requires_grad_(True)
    with WAYS[way](lm), tiled(lm, lambda layer: Passage()):
        with Alive() as alive:
            hidden_BSD = lm.model.get_decoder()(inputs_embeds=embeds_BSD, use_cache=False).last_hidden_state
            kept = alive.bytes()
        (gradient_BSD,) = torch.autograd.grad(hidden_BSD.square().sum(), embeds_BSD)
    return hidden_BSD.detach(), gradient_BSD, kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_bit_changes_and_less_is_kept(family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.model(family, dtype)
    monkeypatch.setitem(sparing.ROWS_BYTES, "cpu", 64 * 48 * 2)  # 120 rows in two parts, the last one smaller
    plain, lean, again = (passed(lm, way) for way in WAYS)
    for other in (lean, again):
        assert torch.equal(plain[0], other[0])
        assert torch.equal(plain[1], other[1])
    assert again[2] < lean[2] < (0.75 if dtype == torch.bfloat16 else 0.9) * plain[2]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_forward_passes_are_put_back(family: str) -> None:
    lm = tiny.model(family)
    with lean_layers(lm):
        assert "forward" in vars(lm.model.get_decoder().layers[0].mlp)
    assert not any("forward" in vars(module) for module in lm.model.modules())


def test_rows_are_counted_by_the_bytes_they_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.model()
    entries = 3 * (2 * 48 + 2 * 32 + 2 * (4 + 2) * 8)  # layers x (gate and up, two norms, heads and key heads)
    monkeypatch.setitem(sparing.GRAPH, "cpu", 5 * 4 * entries * 20)
    assert rows_within(lm, 20) == 5
    assert rows_within(lm, 21) == 4
    assert rows_within(lm, 1000) == 1
    assert rows_within(tiny.model(dtype=torch.bfloat16), 20) == 10

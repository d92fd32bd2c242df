"""Attention made by hand, tile by tile, against torch's own and against finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dpc.lm.saliency import attention
from tests.lm.test_saliency import worst


@pytest.mark.parametrize(
    "sight", [{}, {"softcap": 3.0}, {"window": 4}, {"softcap": 3.0, "window": 4, "offset": 3}], ids=str
)
def test_tiled_attention_passes_gradcheck(sight: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "tile_rows", lambda *a: 3)
    generator = torch.Generator().manual_seed(0)
    offset = sight.get("offset", 0)
    query, key, value = (
        torch.randn(2, heads, rows, 4, generator=generator, dtype=torch.float64, requires_grad=True)
        for heads, rows in ((4, 8), (2, 8 + offset), (2, 8 + offset))
    )
    seen = attention.Sight(0.5, **sight)
    assert torch.autograd.gradcheck(lambda *qkv: attention.Tiled.apply(*qkv, seen)[0], (query, key, value))


@pytest.mark.parametrize(("window", "offset", "idle"), [(None, 0, 0), (None, 3, 0), (None, 3, 5), (4, 0, 0), (4, 3, 0)])
def test_fused_and_tiled_attention_agree(window: int | None, offset: int, idle: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(2, heads, rows, 8, generator=generator, dtype=torch.float64, requires_grad=True)
        for heads, rows in ((4, 9), (2, 9 + offset), (2, 9 + offset))
    )
    sight = attention.Sight(0.3, window, None, offset, idle)
    mask = None if window is None and not offset else attention.visible(9, 9 + offset, sight, query.detach())
    slope = torch.randn(query.shape, generator=generator, dtype=torch.float64)
    slope[:, :, :idle] = 0
    given = (key[:, :, :offset], value[:, :, :offset]) if offset else None
    fused = attention.attend(query, key[:, :, offset:], value[:, :, offset:], sight, mask, given)
    tiled = attention.Tiled.apply(query, key, value, sight)
    for left, right in zip(fused, tiled, strict=True):
        assert worst(left, right) < 1e-13
    gradients = (torch.autograd.grad(out[0], (query, key, value), slope) for out in (fused, tiled))
    for left, right, first in zip(*gradients, (0, offset, offset), strict=True):  # given columns have no gradient
        assert worst(left[:, :, first:], right[:, :, first:]) < 1e-13

"""Attention made by hand, tile by tile, against plain autograd and against finite differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from dpc.lm.saliency import attention
from dpc.lm.saliency.attention import Attention, Sight, Tile
from tests.lm.test_saliency import worst

BATCH, HEADS, SHARED, WIDTH, LENGTH = 3, 4, 2, 4, 9
SIGHTS: dict[str, dict[str, Any]] = {
    "causal": {},
    "soft cap": {"softcap": 3.0},
    "window": {"window": 4},
    "soft cap and window": {"softcap": 3.0, "window": 4},
    "some rows": {"rows": range(4, 8)},
}
TILES = {"one tile": (BATCH, LENGTH), "small tiles": (2, 4), "one row": (1, 1)}
GIVEN = {"nothing given": 0, "one for all": 1, "one each": BATCH}
BEFORE = 5
"""Columns given, where there are any."""


@dataclass(frozen=True)
class States:
    query: Tensor
    key: Tensor
    value: Tensor
    given: tuple[Tensor, Tensor] | None

    @property
    def all(self) -> list[Tensor]:
        return [self.query, self.key, self.value, *(self.given or ())]


def drawn(sequences_given: int, batch: int = BATCH, shared: int = SHARED) -> States:
    generator = torch.Generator().manual_seed(0)

    def states(*shape: int) -> Tensor:
        return torch.randn(*shape, WIDTH, generator=generator, dtype=torch.float64, requires_grad=True)

    own = states(batch, HEADS, LENGTH), states(batch, shared, LENGTH), states(batch, shared, LENGTH)
    before = [states(sequences_given, shared, BEFORE) for _ in range(2)] if sequences_given else None
    return States(*own, (before[0], before[1]) if before else None)


def plain(states: States, sight: Sight) -> tuple[Tensor, Tensor]:
    """Return the output (B, Q, H, D) and A (B, H, Q, K), with every matrix kept."""
    batch, group = len(states.query), states.query.shape[1] // states.key.shape[1]
    keys, values = (
        torch.cat([before.expand(batch, -1, -1, -1), own], 2) if before is not None else own
        for before, own in zip(states.given or (None, None), (states.key, states.value), strict=True)
    )
    scores = states.query @ keys.repeat_interleave(group, 1).transpose(2, 3) * sight.scale
    if sight.softcap is not None:
        scores = sight.softcap * torch.tanh(scores / sight.softcap)
    back = torch.arange(LENGTH)[:, None] + sight.offset - torch.arange(keys.shape[2])
    hidden = (back < 0) | (back >= (sight.window or LENGTH + BEFORE))
    a = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    a.retain_grad()
    is_row = torch.zeros(LENGTH, 1, dtype=a.dtype)
    is_row[list(sight.rows if sight.rows is not None else range(LENGTH))] = 1
    return (a @ values.repeat_interleave(group, 1) * is_row).transpose(1, 2), a


@pytest.mark.parametrize("shared", [1, 2, 4])
@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("name", SIGHTS)
def test_output_gradients_and_what_is_read_equal_plain_autograd(
    name: str, tile: str, given: str, shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "tile_shape", lambda *given: TILES[tile])
    states = drawn(GIVEN[given], shared=shared)
    sight = Sight(0.5, offset=BEFORE if states.given else 0, **SIGHTS[name])
    read = {
        part: torch.zeros(BATCH, HEADS, LENGTH, LENGTH + sight.offset, dtype=torch.float64) for part in ("A", "AdA")
    }

    def reader(tile: Tile, a_bHQK: Tensor, signed_bHQK: Tensor) -> None:
        for part, found in (("A", a_bHQK), ("AdA", signed_bHQK)):
            read[part][tile.sequences, :, tile.rows, tile.columns] += found

    found = attention.attend(states.query, states.key, states.value, sight, states.given, reader)
    truth, a = plain(states, sight)
    assert worst(found, truth) < 1e-13
    slope = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = [torch.autograd.grad(output, states.all, slope, retain_graph=True) for output in (found, truth)]
    for ours, theirs in zip(*gradients, strict=True):
        assert worst(ours, theirs) < 1e-13
    (slope_of_a,) = torch.autograd.grad(truth, a, slope)
    rows = slice(None) if sight.rows is None else slice(sight.rows.start, sight.rows.stop)
    assert worst(read["A"][:, :, rows], a[:, :, rows]) < 1e-13
    assert worst(read["AdA"], a * slope_of_a) < 1e-13


@pytest.mark.parametrize("name", SIGHTS)
@pytest.mark.parametrize("given", GIVEN)
def test_gradcheck(name: str, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "tile_shape", lambda *given: (2, 4))
    states = drawn(GIVEN[given])
    sight = Sight(0.5, offset=BEFORE if states.given else 0, **SIGHTS[name])
    more = states.given or (None, None)
    assert torch.autograd.gradcheck(lambda *all: Attention.apply(*all[:3], *(all[3:] or more), sight, None), states.all)


def test_only_what_needs_a_gradient_gets_one() -> None:
    """Frozen columns before the graph, and a graph that begins at the queries."""
    states = drawn(1)
    sight, given = Sight(0.5, offset=BEFORE), tuple(state.detach() for state in states.given or ())
    whole = torch.autograd.grad(attention.attend(*states.all[:3], sight, states.given).sum(), states.all[:3])
    frozen = torch.autograd.grad(attention.attend(*states.all[:3], sight, given).sum(), states.all[:3])
    at_query = attention.attend(states.query, states.key.detach(), states.value.detach(), sight, given)
    (queries,) = torch.autograd.grad(at_query.sum(), [states.query])
    for ours, theirs in zip((*frozen, queries), (*whole, whole[0]), strict=True):
        assert torch.equal(ours, theirs)


def test_tiles_hold_no_more_than_their_entries_but_enough_rows() -> None:
    for heads, rows, columns in ((4, 30, 60), (14, 350, 450), (14, 2048, 2048), (64, 4096, 4096), (1, 1, 1)):
        sequences, at_once = attention.tile_shape(heads, rows, columns, torch.device("cpu"))
        assert at_once == min(rows, max(attention.LEAST_ROWS, at_once))
        assert sequences == 1 or sequences * at_once * heads * columns <= attention.ENTRIES["cpu"]


@pytest.mark.parametrize("family", ["float32", "bfloat16"])
def test_rounded_states_give_what_the_exact_ones_give(family: str) -> None:
    """Sums and softmax are float32: the output is off by the rounding of itself and no more."""
    dtype, states = getattr(torch, family), drawn(1)
    rounded = [state.detach().to(dtype) for state in states.all]
    found = attention.attend(*rounded[:3], Sight(0.5, offset=BEFORE), (rounded[3], rounded[4]))
    exact = [state.double() for state in rounded]
    truth = attention.attend(*exact[:3], Sight(0.5, offset=BEFORE), (exact[3], exact[4]))
    assert found.dtype == dtype
    assert worst(found.double(), truth) < torch.finfo(dtype).eps

"""Saliency of rationale rows from traces of decoding: rows of all sequences stand one behind the other, without pads.

Linear layers work on a row whatever its sequence is. Attention takes sequences of equal question length together, as
each has columns of its own before its rows. Nothing goes through layers below the traces'.

Axes: B batch, b sequence of a group, H head, J key-value head, N packed row, T row of a sequence, K column, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor

from dpc.lm.finite import check_finite
from dpc.lm.layout import Layout, RightPadded
from dpc.lm.losses import packed_scores
from dpc.lm.models import LanguageModel, other_forwards
from dpc.lm.saliency.attention import Given, Sight, Tile, attend
from dpc.lm.saliency.measuring import span_loss
from dpc.lm.saliency.recorder import Recorder, Reduced, Request
from dpc.lm.saliency.tiled import States, attending
from dpc.lm.sparing import lean_layers, rows_within
from dpc.lm.traces import Trace


@dataclass(frozen=True)
class _Group:
    """Sequences with as many columns before their rows; all lie side by side in the batch."""

    sequences: slice
    first: int
    """Column of their first row."""
    place_bT: Tensor
    """Where each row is packed; a shorter sequence repeats its last one."""
    is_own_bT: Tensor
    given: list[Given]
    """Of each layer from the traces' first on, for all sequences."""


def measure(
    lm: LanguageModel,
    layout: Layout,
    batch: RightPadded,
    traces: Sequence[Trace],
    vectors: int,
    cuts: list[tuple[int, int]],
    starts: list[int],
    request: Request,
) -> Reduced:
    """Do what `measuring.measure` does for rationale rows, on a batch whose rows decoding has left traces of.

    Fastest where questions of equal length follow one another.
    """
    prompt = slice(layout.prompt_start(), layout.prompt_start() + vectors)
    return Reduced.joined(
        [
            _measured(lm, batch.part(rows), traces[rows], prompt, cuts[rows], starts[rows], request)
            for rows in _parts(batch, rows_within(lm, 1))
        ]
    )


def _parts(batch: RightPadded, tokens: int) -> Iterator[slice]:
    """Cut sequences into runs of so many rationale tokens at most."""
    start, taken = 0, 0
    for b, ids in enumerate(batch.rationale_ids):
        if b > start and taken + len(ids) > tokens:
            yield slice(start, b)
            start, taken = b, 0
        taken += len(ids)
    yield slice(start, len(batch.rationale_ids))


def _measured(
    lm: LanguageModel,
    batch: RightPadded,
    traces: Sequence[Trace],
    prompt: slice,
    cuts: list[tuple[int, int]],
    starts: list[int],
    request: Request,
) -> Reduced:
    """Measure saliency on sequences that go through the model at once."""
    config = lm.model.config
    recorder = Recorder(request, batch, prompt, cuts, config.num_hidden_layers, config.num_attention_heads)
    attention = partial(_attention, recorder, traces[0].first, _groups(batch, traces))
    with lean_layers(lm), attending(lm, attention), torch.enable_grad():
        hidden_ND = _outputs(lm, batch, traces)
        nll, entropy = packed_scores(lm, hidden_ND, batch.rationale_ids)
        check_finite(torch.cat([*nll, *entropy]), "a rationale token's loss or entropy")
        torch.autograd.grad(span_loss(nll, starts), [recorder.leaf])
    return recorder.reduced(nll, entropy)


def _outputs(lm: LanguageModel, batch: RightPadded, traces: Sequence[Trace]) -> Tensor:
    """Return the decoder's outputs at the packed rows; layers below the traces' let them pass."""
    rows = [batch.predicting_rows(b) for b in range(len(traces))]
    hidden_ND = torch.cat([trace.hidden_TD[: len(own)] for trace, own in zip(traces, rows, strict=True)])
    position_N = torch.tensor([place for own in rows for place in own], device=lm.device)
    decoder = lm.model.get_decoder()
    with other_forwards(list(decoder.layers[: traces[0].first]), lambda forward: _unchanged):
        out_1ND = decoder(inputs_embeds=hidden_ND[None], position_ids=position_N[None], use_cache=False)
    return out_1ND.last_hidden_state[0]


def _unchanged(hidden_BSD: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return hidden_BSD


def _groups(batch: RightPadded, traces: Sequence[Trace]) -> list[_Group]:
    """Return runs of sequences with questions of equal length."""
    lengths = [len(ids) for ids in batch.rationale_ids]
    packed = [0, *accumulate(lengths)]
    groups = []
    for _, run in groupby(range(len(traces)), key=lambda b: batch.question_tokens[b]):
        own = list(run)
        length_b1 = torch.tensor([lengths[b] for b in own])[:, None]
        row_T = torch.arange(int(length_b1.max()))
        place_bT = torch.tensor([packed[b] for b in own])[:, None] + torch.minimum(row_T, length_b1 - 1)
        given = [
            (torch.cat([key for key, _ in states]), torch.cat([value for _, value in states]))
            for states in zip(*(traces[b].given for b in own), strict=True)
        ]
        first = batch.predicting_rows(own[0]).start
        groups.append(_Group(slice(own[0], own[-1] + 1), first, place_bT, row_T < length_b1, given))
    return groups


def _attention(
    recorder: Recorder, first: int, groups: Sequence[_Group], layer: int, states: States, sight: Sight
) -> Tensor:
    """Return attention's output (1, N, H, D) of the packed rows; measured layers are read in the backward pass."""
    query_HND, key_JND, value_JND = (state[0] for state in states)
    if layer == recorder.layers.start:
        recorder.leaf = query_HND = query_HND.detach().requires_grad_(True)
    found = []
    for group in groups:
        query, key, value = (state[:, group.place_bT].transpose(0, 1) for state in (query_HND, key_JND, value_JND))
        given = group.given[layer - first]
        reader = partial(_read, recorder, group, layer) if layer in recorder.layers else None
        out_bTHD = attend(query, key, value, replace(sight, offset=given[0].shape[2]), given, reader)
        found.append(out_bTHD[group.is_own_bT])
    return torch.cat(found)[None]


def _read(recorder: Recorder, group: _Group, layer: int, tile: Tile, a_bHQK: Tensor, signed_bHQK: Tensor) -> None:
    """Show the recorder a tile of a group where it stands in the batch."""
    b, down = group.sequences.start, group.first - recorder.graph_start
    sequences = slice(tile.sequences.start + b, tile.sequences.stop + b)
    rows = slice(tile.rows.start + down, tile.rows.stop + down)
    recorder.read(layer, Tile(sequences, rows, tile.columns), a_bHQK, signed_bHQK)

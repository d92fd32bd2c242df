"""What decoding leaves of a row: all that a backward pass down to some layer needs, computed already.

Its saliency in deep layers then needs no pass over the question, and none through the layers below.
Axes: B batch, R row of a pass, J key-value head, S column, Q query, T rationale token, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dpc.lm.batches import copy_rows
from dpc.lm.cache import Past
from dpc.lm.models import LanguageModel


@dataclass(frozen=True)
class Trace:
    """One row: what stands before its rationale, and what went into layer `first` where a token was said."""

    first: int
    given: list[tuple[Tensor, Tensor]]
    """Keys and values (1, J, S, D) of layers `first` and later: prompt and question without its last token."""
    hidden_TD: Tensor
    """Inputs of layer `first` at the positions that predict each rationale token."""


class Tracer:
    """Watches a batch while it is prefilled and goes on; row b is that of its past."""

    def __init__(self, past: Past, first: int):
        self.past, self.first = past, first
        self.rooms: list[Tensor] = []
        self.numbers = list(range(len(past.mask_BS)))
        """Which row of the batch each row was in the beginning."""
        self.found: dict[int, Trace] = {}

    def note(self, layer: Any, inputs: tuple[Tensor, ...]) -> None:
        """Write down the layer's inputs in a pass."""
        hidden_RQD = inputs[0]
        if not self.rooms:
            rows, columns = self.past.mask_BS.shape
            self.rooms = [hidden_RQD.new_empty(rows, 1, columns, hidden_RQD.shape[-1])]
        self.past.place.write(self.rooms[0], hidden_RQD[:, None])

    def end(self, row: int, columns: int, said: int) -> None:
        """Keep what is left of a row that ended: its rationale has `said` tokens, behind so many columns."""
        seen_S = self.past.mask_BS[row, :columns].nonzero()[:-1, 0]
        given = [
            (keys[row : row + 1, :, seen_S.to(keys.device)], values[row : row + 1, :, seen_S.to(values.device)])
            for keys, values in (layer.rooms for layer in self.past.cache.layers[self.first :])
        ]
        hidden_TD = self.rooms[0][row, 0, columns - 1 : columns - 1 + said].clone()
        self.found[self.numbers[row]] = Trace(self.first, given, hidden_TD)

    def arrange(self, order: Sequence[int], source: Sequence[int], target: Sequence[int]) -> None:
        """Let row order[b] be row b: rows `source` come into the places of rows `target`."""
        self.numbers = [self.numbers[b] for b in order]
        if source:
            copy_rows(self.rooms, source, target)


@contextmanager
def tracing(lm: LanguageModel, past: Past, first: int) -> Iterator[dict[int, Trace]]:
    """Keep what is left of every row of `past` that ends within, by its number; nothing behind the prefix is filled."""
    past.tracer = Tracer(past, first)
    handle = lm.model.get_decoder().layers[first].register_forward_pre_hook(past.tracer.note)
    try:
        yield past.tracer.found
    finally:
        handle.remove()

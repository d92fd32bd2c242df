"""The pass over prompts and questions, in pieces: memory is bounded by tokens, however many or long they are.

What rows of a batch begin with, BOS and prompt, is run once for each prompt, and its keys and values are copied to its
rows. Axes: B batch, R row of a piece, U beginning, S column, K column of a beginning, J key-value head, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpc.config.methods import Act
from dpc.lm.act.calibration import Calibration, calibrated
from dpc.lm.cache import Past, States
from dpc.lm.greedy import next_tokens
from dpc.lm.layout import LeftPadded
from dpc.lm.models import LanguageModel
from dpc.lm.sparing import foldable

MOST_TOKENS = 16384
"""Of one pass: more make nothing faster."""
OPERATIONS = {"cpu": 1e12, "cuda": 4e14}
"""Of one pass: a few seconds' work, since nothing is said, saved or stopped before it is over."""


@dataclass(frozen=True)
class Calibrated:
    """Attention calibration while decoding: the rule, and the heads of each layer that it is switched on in."""

    rule: Act
    heads: dict[int, list[int]]


def tokens_at_once(lm: LanguageModel) -> int:
    """Return how many tokens go through the model in one pass, by its size and device."""
    weights = sum(parameter.numel() for parameter in lm.model.parameters())
    operations = OPERATIONS["cuda" if lm.device.type == "cuda" else "cpu"]
    return int(min(MOST_TOKENS, max(256, operations / (2 * weights))))


def pieces(widths: Sequence[int], tokens: int) -> Iterator[slice]:
    """Cut rows into runs whose padded size is at most `tokens`; a row that is larger stands alone."""
    start, widest = 0, 0
    for row, width in enumerate(widths):
        widest = max(widest, width)
        if row > start and (row + 1 - start) * widest > tokens:
            yield slice(start, row)
            start, widest = row, width
    yield slice(start, len(widths))


def states_of(lm: LanguageModel, heads_UKD: Tensor, tokens: int, beat: Callable[[], None] = lambda: None) -> States:
    """Return every layer's keys and values (U, J, K, D) of what rows begin with; none where that is nothing."""
    count, columns = heads_UKD.shape[:2]
    if not columns:
        return []
    position_UK = torch.arange(columns, device=lm.device).expand(count, -1)
    past = Past(lm, torch.ones_like(position_UK), position_UK, columns)
    for rows in pieces([columns] * count, tokens):
        inputs = past.fill(rows, [0] * (rows.stop - rows.start), columns)
        lm.model.get_decoder()(inputs_embeds=heads_UKD[rows], **inputs)
        beat()
    return past.states()


def begin(lm: LanguageModel, batch: LeftPadded, states: States, which: Sequence[int], new_tokens: int) -> Past:
    """Return the past of a batch that holds what its rows begin with, and has room for all that comes after it."""
    past = Past(lm, batch.mask_BS, batch.position_ids_BS, batch.mask_BS.shape[1] + new_tokens)
    past.begin_with(states, which)
    return past


def first_tokens(
    lm: LanguageModel,
    past: Past,
    batch: LeftPadded,
    act: Calibrated | None,
    tokens: int,
    beat: Callable[[], None],
    place: int = 0,
) -> list[int]:
    """Fill the columns behind the beginnings, and return what each row says first; `place` is the first one's.

    Pads that all rows of a piece have are left out. Under attention calibration, which finds sinks on all rows of a
    question at once, a piece holds whole rows.
    """
    length = batch.embeds_BSD.shape[1]
    shared = batch.mask_BS.shape[1] - length
    found, calibrations = list[int](), list[Calibration]()
    for rows in pieces([length - pad for pad in batch.pads], tokens):
        calibration = None if act is None else Calibration(act.rule, act.heads, batch.mask_BS[rows])
        start, count = 0 if act else min(batch.pads[rows]), rows.stop - rows.start
        step = length if act else max(1, tokens // count)
        with calibrated(lm, calibration):
            for first in range(start, length, step):
                embeds_RSD = foldable(batch.embeds_BSD[rows, first : first + step])
                places = slice(place + rows.start, place + rows.stop)
                inputs = past.fill(places, [shared + first] * count, embeds_RSD.shape[1])
                hidden_RSD = lm.model.get_decoder()(inputs_embeds=embeds_RSD, **inputs).last_hidden_state
                beat()
        found += next_tokens(lm, hidden_RSD[:, -1]).tolist()
        calibrations += [calibration] if calibration else []
    past.calibration = Calibration.joined(calibrations) if calibrations else None
    return found

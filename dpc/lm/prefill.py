"""The pass over prompts and questions, in pieces: memory is bounded by tokens, however many or long they are.

What the rows of a batch have in common, BOS and prompt up to the first vector that differs, is run once, and its keys
and values are copied to every row. Axes: B batch, R row of a piece, S column, K shared prefix, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from dpc.config.methods import Act
from dpc.lm.act.calibration import Calibration, calibrated
from dpc.lm.cache import Past
from dpc.lm.greedy import next_tokens
from dpc.lm.layout import LeftPadded
from dpc.lm.models import LanguageModel

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


def begin(lm: LanguageModel, batch: LeftPadded, prefix_KD: Tensor, new_tokens: int) -> Past:
    """Return the past of a batch that holds the shared prefix, and has room for all that comes after it."""
    shared = len(prefix_KD)
    past = Past(lm, batch.mask_BS, batch.position_ids_BS, batch.mask_BS.shape[1] + new_tokens)
    if shared:
        prefix = Past(lm, batch.mask_BS[:1, :shared], batch.position_ids_BS[:1, :shared], shared)
        lm.model.get_decoder()(inputs_embeds=prefix_KD[None], **prefix.fill(slice(0, 1), [0], shared))
        past.begin_with(prefix.states())
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
    """Fill the columns behind the shared prefix, and return what each row says first; `place` is the first one's.

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
                embeds_RSD = batch.embeds_BSD[rows, first : first + step].contiguous()
                places = slice(place + rows.start, place + rows.stop)
                inputs = past.fill(places, [shared + first] * count, embeds_RSD.shape[1])
                hidden_RSD = lm.model.get_decoder()(inputs_embeds=embeds_RSD, **inputs).last_hidden_state
                beat()
        found += next_tokens(lm, hidden_RSD[:, -1]).tolist()
        calibrations += [calibration] if calibration else []
    past.calibration = Calibration.joined(calibrations) if calibrations else None
    return found

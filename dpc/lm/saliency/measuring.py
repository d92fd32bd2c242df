"""Attention saliency |A * dL/dA|, reduced while it is made.

Since O = A V, dL/dA = dL/dO V^T: no attention matrix has to be kept for the backward pass. The forward pass runs fused
attention that tells its log-sum-exp; an identity function at each attention output receives dL/dO in the backward pass,
rebuilds A where it is needed (`attention.py`) and adds |A * dL/dA| up at once (`recorder.py`).

Axes: B batch, H head, J key-value head, S position, Q query row, K key column, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dpc.errors import DpcError
from dpc.lm.layout import Layout, RightPadded
from dpc.lm.losses import only_last_rows, rationale_scores
from dpc.lm.models import LanguageModel, other_forwards
from dpc.lm.saliency.attention import Given, Sight, attend
from dpc.lm.saliency.recorder import Recorder, Reduced, Request
from dpc.storage.model_files import FAMILIES

ATTENTION = "dpc_saliency"
_active: list[Recorder] = []


class _Tap(torch.autograd.Function):
    """Identity at an attention output whose backward pass hands dL/dO to the recorder.

    What it needs is saved the way torch saves tensors, so that activation checkpointing can let go of it.
    """

    @staticmethod
    def forward(ctx: Any, output_BHQD: Tensor, layer: int, sight: Sight, recorder: Recorder, *saved: Tensor) -> Tensor:
        ctx.save_for_backward(*saved)
        ctx.about = layer, sight, recorder
        return output_BHQD.view_as(output_BHQD)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        layer, sight, recorder = ctx.about
        recorder.take(layer, sight, ctx.saved_tensors, gradients[0])
        return gradients[0], None, None, None, None, None, None, None


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of right-padded rows, with the tap; transformers' attention interface (B, H, S, D)."""
    recorder, layer = _active[-1], module.layer_idx
    given = recorder.given[layer] if recorder.given else None
    rows = query.shape[2]
    columns = rows if given is None else rows + given[0].shape[2]
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    window = sliding_window if sliding_window is not None and sliding_window < columns else None
    sight = Sight(scale, window, softcap, columns - rows, recorder.idle(layer))
    output, lse = attend(query, key, value, sight, recorder.mask(rows, columns, sight, query), given)
    if recorder.is_recording and layer in recorder.layers:
        if layer == recorder.layers.start:  # nothing below the first measured output has to be differentiated
            output = recorder.leaf = output.detach().requires_grad_(True)
        saved = (states.detach() for states in (query, key, value, lse))
        output = _Tap.apply(output, layer, sight, recorder, *saved)
    return output.transpose(1, 2).contiguous(), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Rows are padded on the right: the causal mask, built into `_attention`, is all they need."""


@contextmanager
def _recording(lm: LanguageModel, recorder: Recorder) -> Iterator[None]:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, _no_mask)  # an unregistered name would silently get no mask at all
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation(ATTENTION)
    _active.append(recorder)
    try:
        yield
    finally:
        _active.pop()
        lm.model.set_attn_implementation(before)


def _checkpointed(lm: LanguageModel, is_wanted: bool) -> AbstractContextManager[None]:
    """Make every decoder layer keep its input only; transformers' own switch would drop the prefix cache silently."""
    layers = list(lm.model.get_decoder().layers) if is_wanted else []
    again = partial(partial, checkpoint, use_reentrant=False, preserve_rng_state=False)
    return other_forwards(layers, again)


def span_loss(nll: list[Tensor], starts: list[int]) -> Tensor:
    """Return the loss (D5, D6): per row the mean NLL of its tokens from `starts` on, summed over the batch.

    A mean over the batch would scale saliency by 1 / batch size.
    """
    return torch.stack([row[start:].mean() for row, start in zip(nll, starts, strict=True)]).sum()


class Prefix:
    """Keys and values of what all rows of all batches under one prompt begin with: made once, and while it stays so."""

    def __init__(self) -> None:
        self._embeds_1KD: Tensor | None = None
        self._given: list[Given] = []

    def given(self, embeds_1KD: Tensor, make: Callable[[Tensor], list[Given]]) -> list[Given]:
        """Return what `make` makes of `embeds_1KD`, the last of it if they are the same."""
        if self._embeds_1KD is None or not torch.equal(self._embeds_1KD, embeds_1KD):
            self._embeds_1KD, self._given = embeds_1KD, make(embeds_1KD)
        return self._given


def _scores(
    lm: LanguageModel, batch: RightPadded, recorder: Recorder, prefix: Prefix
) -> tuple[list[Tensor], list[Tensor]]:
    """Return NLL and entropy at every rationale token, on a graph that begins at the recorder's first row."""
    embeds_BSD, decoder, first = batch.embeds_BSD.detach(), lm.model.get_decoder(), recorder.graph_start
    make = partial(_given, decoder, recorder)
    if first > batch.question_start:
        recorder.given = make(embeds_BSD[:, :first])
    elif first > 0:  # all rows have the same prompt
        recorder.given = prefix.given(embeds_BSD[:1, :first], make)
    positions_1S = torch.arange(first, embeds_BSD.shape[1], device=embeds_BSD.device)[None]
    hidden_BSD = decoder(inputs_embeds=embeds_BSD[:, first:], position_ids=positions_1S, use_cache=False)
    return rationale_scores(lm, batch, hidden_BSD.last_hidden_state, first, is_entropy_wanted=True)


def _given(decoder: Any, recorder: Recorder, embeds_BSD: Tensor) -> list[Given]:
    """Return every layer's keys and values of what goes before the graph; nothing is recorded of it."""
    from transformers import DynamicCache

    recorder.is_recording = False
    before = DynamicCache()  # without the model's config no layer forgets what is outside its window
    positions_1S = torch.arange(embeds_BSD.shape[1], device=embeds_BSD.device)[None]
    with torch.no_grad():
        decoder(inputs_embeds=embeds_BSD, position_ids=positions_1S, past_key_values=before)
    recorder.is_recording = True
    return [(kept.keys, kept.values) for kept in before.layers]


def measure(
    lm: LanguageModel,
    layout: Layout,
    batch: RightPadded,
    vectors: int,
    cuts: list[tuple[int, int]],
    starts: list[int],
    request: Request,
    prefix: Prefix | None = None,
) -> Reduced:
    """Measure saliency on a batch with `vectors` prompt vectors; batches of one prompt may share a `prefix`.

    `cuts[b]` are the rationale tokens in the former half by tokens and by steps (D7), `starts[b]` the first token of
    the loss span. Raises DpcError for a model family the tap is not proved for, and where the loss is not finite.
    """
    config = lm.model.config
    if config.model_type not in FAMILIES:
        raise DpcError(
            f"saliency of model family {config.model_type!r} is not supported; expected {', '.join(FAMILIES)}"
        )
    prompt = slice(layout.prompt_start(), layout.prompt_start() + vectors)
    recorder = Recorder(request, batch, prompt, cuts, config.num_hidden_layers, config.num_attention_heads)
    spared = only_last_rows(lm, batch.embeds_BSD.shape[1] - recorder.first_row)
    with spared, _recording(lm, recorder), _checkpointed(lm, request.checkpoint), torch.enable_grad():
        nll, entropy = _scores(lm, batch, recorder, prefix or Prefix())
        loss = span_loss(nll, starts)
        if not bool(torch.isfinite(loss)):
            raise DpcError(f"saliency loss is {float(loss)}; expected a finite number: use models.NAME.dtype: float32")
        torch.autograd.grad(loss, [recorder.leaf])
    return recorder.reduced(nll, entropy)

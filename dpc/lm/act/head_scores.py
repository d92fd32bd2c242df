"""How attention calibration changes the likelihood of gold rationales, for one head at a time or several together.

All heads of a layer go through the model as rows of one batch, from that layer on: what lies below is the same for all
of them and runs once. Axes: B batch, S position, D width, V head tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from dpc.config.methods import Act
from dpc.lm.act.calibration import Calibration, calibrated
from dpc.lm.cache import causal_masks
from dpc.lm.examples import Example
from dpc.lm.finite import check_finite
from dpc.lm.layout import Layout, RightPadded, right_padded
from dpc.lm.losses import rationale_nll
from dpc.lm.models import LanguageModel, other_forwards

Prompts = Callable[[Sequence[list[int]]], Tensor]
"""From questions to the prompt of all of them (N x D), or to that of each (B x N x D)."""


class HeadScores:
    """Mean NLL per question of its gold rationale, answer and end mark (nats per token), under its soft prompt."""

    def __init__(self, lm: LanguageModel, layout: Layout, prompts: Prompts, rule: Act):
        self.lm, self.layout, self.prompts, self.rule = lm, layout, prompts, rule

    @torch.inference_mode()
    def together(self, examples: Sequence[Example], heads: Mapping[int, Sequence[int]]) -> list[float]:
        """Return the NLL of each question with all of `heads` (by layer) switched on."""
        batch = self._batch(examples)
        with calibrated(self.lm, Calibration(self.rule, heads, self._prefill(batch))):
            return self._nll(batch, self._decoded(batch.embeds_BSD))

    @torch.inference_mode()
    def each(self, examples: Sequence[Example], layers: Sequence[int]) -> tuple[list[float], list[list[list[float]]]]:
        """Return the NLL of each question as it is, and by layer and head with that head alone switched on."""
        batch = self._batch(examples)
        with self._inputs_of(layers) as inputs:
            base = self._nll(batch, self._decoded(batch.embeds_BSD))
        return base, [self._of_layer(batch, inputs[layer], layer) for layer in layers]

    def _of_layer(self, batch: RightPadded, input_BSD: Tensor, layer: int) -> list[list[float]]:
        """Return the NLL by head of one layer, whose input is given."""
        tried, rows = self.lm.model.config.num_attention_heads, len(input_BSD)
        heads = {layer: [[head] for head in range(tried) for _ in range(rows)]}
        calibration = Calibration(self.rule, heads, self._prefill(batch).repeat(tried, 1))
        with calibrated(self.lm, calibration), self._beginning_with(layer):
            hidden = self._decoded(input_BSD.repeat(tried, 1, 1))
        return [self._nll(batch, hidden_BSD) for hidden_BSD in hidden.split(rows)]

    def _batch(self, examples: Sequence[Example]) -> RightPadded:
        questions, rationales = [e.question_ids for e in examples], [e.rationale_ids for e in examples]
        return right_padded(self.lm, self.layout, self.prompts(questions), questions, rationales)

    def _prefill(self, batch: RightPadded) -> Tensor:
        """Return the columns on which sinks are found (B x S): to the question's end; to the row's if `released`."""
        ends = [batch.question_start + count for count in batch.question_tokens]
        if self.rule.mode == "released":
            ends = [end + len(ids) for end, ids in zip(ends, batch.rationale_ids, strict=True)]
        device = self.lm.device
        return torch.arange(batch.embeds_BSD.shape[1], device=device) < torch.tensor(ends, device=device)[:, None]

    def _decoded(self, embeds_BSD: Tensor) -> Tensor:
        position_1S = torch.arange(embeds_BSD.shape[1], device=self.lm.device)[None]
        masks = causal_masks(self.lm, position_1S >= 0, position_1S, position_1S)  # padded on the right: all rows' mask
        decoder = self.lm.model.get_decoder()
        found = decoder(inputs_embeds=embeds_BSD, position_ids=position_1S, attention_mask=masks, use_cache=False)
        return found.last_hidden_state

    def _nll(self, batch: RightPadded, hidden_BSD: Tensor) -> list[float]:
        found = rationale_nll(self.lm, batch, hidden_BSD)
        check_finite(torch.cat(found), "a gold token's loss")
        return [float(nll.mean()) for nll in found]

    @contextmanager
    def _inputs_of(self, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
        """Write down what goes into `layers` while the model runs."""
        found: dict[int, Tensor] = {}

        def note(layer: int) -> Any:
            return lambda module, inputs: found.update({layer: inputs[0]})

        modules = self.lm.model.get_decoder().layers
        hooks = [modules[layer].register_forward_pre_hook(note(layer)) for layer in layers]
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()

    def _beginning_with(self, layer: int) -> AbstractContextManager[None]:
        """Let the layers below `layer` pass on what they are given."""
        below = list(self.lm.model.get_decoder().layers[:layer])
        return other_forwards(below, lambda own: lambda hidden, *args, **kwargs: hidden)

"""How likely each of a few labels is as the answer to a question. Axes: K label token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dpc.lm.layout import Layout, check_length, right_padded
from dpc.lm.losses import rationale_nll
from dpc.lm.models import LanguageModel


@torch.no_grad()
def log_likelihoods(
    lm: LanguageModel,
    layout: Layout,
    prompts: Callable[[Sequence[list[int]]], Tensor] | None,
    questions: Sequence[Sequence[int]],
    labels: Sequence[Sequence[int]],
) -> list[list[float]]:
    """Return, for each question, log p(label | prompt, question) in nats of every label, summed over its tokens.

    `prompts` gives the prompt of all questions (N x D) or that of each (B x N x D); None is no prompt. Raises DpcError
    where a question and a label do not fit the context.
    """
    pairs = [(question, label) for question in questions for label in labels]
    asked, answers = ([list(ids) for ids in each] for each in zip(*pairs, strict=True))
    prompt = prompts(asked) if prompts else None
    for question, label in pairs:
        check_length(lm, 0 if prompt is None else prompt.shape[-2], len(question), len(label))
    laid = right_padded(lm, layout, prompt, asked, answers)
    hidden_BSD = lm.model.get_decoder()(inputs_embeds=laid.embeds_BSD).last_hidden_state
    sums = [-float(nll_K.sum()) for nll_K in rationale_nll(lm, laid, hidden_BSD)]
    return [sums[start : start + len(labels)] for start in range(0, len(sums), len(labels))]

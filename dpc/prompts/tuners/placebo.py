"""Placebo: prompt tuning on rationales that belong to other questions.

The prompt can learn what a rationale looks like, and nothing of how a question leads to its answer. What harm or help
it does comes from the form alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from dpc.config import kinds
from dpc.config.catalogue import Recipe
from dpc.lm.examples import Example
from dpc.lm.layout import Layout, check_length
from dpc.lm.models import LanguageModel
from dpc.prompts.tuners import prompt_tuning, tuner

TUNER = tuner(label="Placebo")


class Settings(kinds.Settings):
    """Nothing of its own: what every recipe sets is all that it needs."""


def exchanged(examples: Sequence[Example], seed: int) -> list[Example]:
    """Return the questions in their order, each with the rationale of another one; every rationale stands once.

    All questions are put on one random circle, and each takes the rationale of the next. A single one keeps its own.
    """
    circle = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
    next_on_circle = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    return [replace(examples[next_on_circle[i]], question_ids=each.question_ids) for i, each in enumerate(examples)]


class Tuning(prompt_tuning.Tuning):
    """Prompt tuning on exchanged rationales. The step that is kept is chosen on exchanged rationales too."""

    def __init__(
        self,
        lm: LanguageModel,
        layout: Layout,
        recipe: Recipe,
        seed: int,
        examples: Sequence[Example],
        validation: Sequence[Example],
        rows: int,
    ):
        """Take what prompt tuning takes; `seed` decides the exchange too. Raises DpcError where a pair is too long."""
        pairs = exchanged(examples, seed), exchanged(validation, seed)
        for each in (*pairs[0], *pairs[1]):
            check_length(lm, recipe.vectors, len(each.question_ids), len(each.rationale_ids))
        super().__init__(lm, layout, recipe, seed, *pairs, rows)

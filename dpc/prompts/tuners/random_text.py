"""Random text: the best of many random strings, by validation loss.

What every optimiser of discrete prompts has to beat at equal cost in forward passes (after "Strings from the Library of
Babel"). Axes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from dpc.config import kinds
from dpc.config.catalogue import Recipe
from dpc.lm.examples import Example
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from dpc.prompts.tuners import tuner
from dpc.prompts.tuners.search import Search
from dpc.prompts.tuners.vocabulary import allowed

TUNER = tuner(label="Random text", searches=True)


class Settings(kinds.Settings):
    """What `recipes.NAME.options` may set."""

    strings: kinds.Count = 100
    """Strings of `recipes.NAME.vectors` tokens that are drawn; each is scored on all validation questions."""
    tokens: Literal["plain", "ordinary"] = "plain"
    """What prompts are made of: `.`, `,`, spaces and ASCII letters; or every token that is text."""
    source: Literal["vocabulary", "model"] = "vocabulary"
    """Each token alike and by itself, or a sample of what the model says behind its beginning mark."""

    def passes(self, validation: int) -> int:
        """Return how many sequences go through the model."""
        return self.strings * (validation + (self.source == "model"))


class Tuning(Search):
    """A step draws a string and scores it."""

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
        """Take what every tuner takes."""
        self.options = Settings.model_validate(recipe.options)
        super().__init__(lm, layout, recipe, seed, examples, validation, rows, self.options.strings)
        self.pool = allowed(lm, self.options.tokens)

    def _step(self) -> float:
        return self.try_out(self._drawn() if self.options.source == "vocabulary" else self._said())

    def _drawn(self) -> list[int]:
        places = torch.randint(len(self.pool), (self.recipe.vectors,), generator=self.generator)
        return [self.pool[place] for place in places.tolist()]

    @torch.no_grad()
    def _said(self) -> list[int]:
        """Return a sample at temperature 1 from the model's next tokens, those of the pool alone."""
        first = self.lm.bos_id if self.lm.bos_id is not None else self.lm.end_ids[0]
        said = [first]
        for _ in range(self.recipe.vectors):
            embeds_1SD = self.lm.embedding(torch.tensor([said], device=self.lm.device))
            hidden_1SD = self.lm.model.get_decoder()(inputs_embeds=embeds_1SD, use_cache=False).last_hidden_state
            chances_V = self.lm.logits(hidden_1SD[:, -1].contiguous())[0, self.pool].float().softmax(-1).cpu()
            said.append(self.pool[int(torch.multinomial(chances_V, 1, generator=self.generator))])
        self.cost.add(1, len(said))
        return said[1:]

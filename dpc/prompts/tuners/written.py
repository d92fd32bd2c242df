"""Written instruction: a text of the configuration, as it stands."""

from __future__ import annotations

from collections.abc import Sequence

from dpc.config import kinds
from dpc.config.catalogue import Recipe
from dpc.lm.examples import Example
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from dpc.prompts.tuners import tuner
from dpc.prompts.tuners.search import Search

TUNER = tuner(label="Written instruction", searches=True)


class Settings(kinds.Settings):
    """What `recipes.NAME.options` may set."""

    text: str
    """The instruction; at most `recipes.NAME.vectors` tokens of the model's."""

    def passes(self, validation: int) -> int:
        """Return how many sequences go through the model."""
        return validation


class Tuning(Search):
    """One step: look at the text's validation loss."""

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
        super().__init__(lm, layout, recipe, seed, examples, validation, rows, steps=1)
        self.written = self.fitting("text", Settings.model_validate(recipe.options).text)

    def _step(self) -> float:
        return self.try_out(self.written)

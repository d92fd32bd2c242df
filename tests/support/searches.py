"""Searches for discrete prompts on a tiny model, small enough to be done many times."""

from __future__ import annotations

from typing import Any

from dpc.config.catalogue import Recipe
from dpc.lm.examples import Example
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from dpc.prompts.tuners import tuning_of
from dpc.prompts.tuners.search import Search
from tests.support import tiny

LAYOUT = Layout("bos_first", True)
GREATER = {
    "start": "Tom has", "link": ".", "extractor": "####", "items": 6, "steps": 3, "reasoning_tokens": 5, "top_k": 40,
    "group_size": 3, "groups": 2, "stop_below": 0, "finalists": 3,
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "written": {"text": "step by step :"},
    "random_text": {"strings": 4},
    "pez": {"steps": 6, "batch_size": 4, "validate_every": 2, "fluency": 0.2, "perplexity": 0.001},
    "greater": GREATER,
    "rlprompt": {"steps": 4, "prompts": 3, "batch_size": 4, "hidden": 16, "validate_every": 2, "perplexity": 0.1,
                 "learning_rate": 0.01},
}  # fmt: skip


def examples(lm: LanguageModel, count: int = 10) -> list[Example]:
    """Return questions of the arithmetic vocabulary with short rationales and their answers."""
    made = []
    for i in range(count):
        question, answer = f"Q : Tom has {i + 2} pears . Mon buys {i % 3 + 1} . A :", str(i + 3 + i % 3)
        made.append(Example(lm.encode(question), [*lm.encode(f"#### {answer}"), 2], answer))
    return made


def begin(
    name: str,
    lm: LanguageModel | None = None,
    seed: int = 0,
    vectors: int = 4,
    first_tokens: int | None = None,
    **changed: Any,
) -> Search:
    """Return a search that has not begun; `changed` are options."""
    lm = lm or tiny.model()
    told = {"tuner": name, "vectors": vectors, "first_tokens": first_tokens, "options": OPTIONS[name] | changed}
    recipe = Recipe.model_validate(told)
    made = tuning_of(name)(lm, LAYOUT, recipe, seed, examples(lm), examples(lm, 4), 5)
    assert isinstance(made, Search)
    return made


def done(search: Search, steps: int | None = None) -> Search:
    """Return the search after so many steps, or at its end."""
    while not search.is_over and (steps is None or search.step < steps):
        search.advance()
    return search

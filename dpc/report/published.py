"""What the DPC paper (ICLR 2025) and its public reviews report, as plain data, to compare with our numbers.

Sources: `poster`, the paper's poster page; `review`, quoted in the paper's public reviews. Accuracies in %.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from dpc.tasks import TASKS


class Published(NamedTuple):
    """One published accuracy."""

    model: str
    dataset: str
    plan: str
    """Our name of the method; `act` is attention calibration."""
    accuracy: float
    source: str


ACT_NOT_APPLIED = frozenset({"mistral-7b"})
"""Models whose ACT row equals prompt tuning in all cells: the public ACT code never patches them."""

FLOW_RIGHT, FLOW_WRONG = 0.014, 0.019
"""Mean flow of right and wrong instances (figure 4c, from a review): only the ratio can be compared."""

_DATASETS = ("gsm8k", "math", "aqua")
TEST_ROWS = {name: facts.test_rows for name, facts in TASKS.items() if facts.test_rows}
"""Test questions behind the published numbers: MATH-500, say, is another test set, whatever its name."""
_POSTER = {
    ("no_prompt", "llama2-13b"): (29.5, 2.0, 21.0),
    ("no_prompt", "llama3-8b"): (64.9, 30.0, 34.0),
    ("no_prompt", "mistral-7b"): (37.9, 5.1, 26.0),
    ("prompt_tuning", "llama2-13b"): (38.1, 7.6, 22.4),
    ("prompt_tuning", "llama3-8b"): (65.5, 33.7, 38.5),
    ("prompt_tuning", "mistral-7b"): (49.5, 15.0, 28.7),
    ("act", "llama2-13b"): (39.2, 7.1, 20.1),
    ("act", "llama3-8b"): (52.6, 33.8, 38.6),
    ("act", "mistral-7b"): (49.5, 15.0, 28.7),
    ("dpc", "llama2-13b"): (41.9, 9.2, 31.1),
    ("dpc", "llama3-8b"): (67.6, 36.3, 42.5),
    ("dpc", "mistral-7b"): (51.1, 16.4, 31.9),
}

PUBLISHED: tuple[Published, ...] = (
    *(
        Published(model, dataset, plan, accuracy, "poster")
        for (plan, model), accuracies in _POSTER.items()
        for dataset, accuracy in zip(_DATASETS, accuracies, strict=True)
    ),
    Published("llama3-8b", "gsm8k", "random_corruption", 51.3, "review"),
    Published("llama3-8b", "gsm8k", "always", 65.8, "review"),
    Published("llama3-8b", "math", "always", 34.2, "review"),
)

BOOLQ_NLL = {100: (2.82, 6.12, 5.15), 20: (2.49, 5.64, 6.45), 5: (2.60, 6.18, 8.09)}
"""By length: natural text, a soft prompt's nearest tokens, PEZ, on BoolQ ("Towards Interpretable Soft Prompts"). The
paper calls the column perplexity; very likely it is the mean NLL in nats."""
SST2_ACCURACY = {5: (0.81, 0.71, 0.50), 15: (0.78, 0.69, 0.50)}
"""By length: RLPrompt with distilGPT-2 on SST-2, where perplexity weighs 0, .01, or alone (same paper)."""


def not_run(models: list[str], datasets: list[str]) -> list[tuple[str, str]]:
    """Return the paper's models and datasets that are not among those of a study, where any of its cells is."""
    cells = list(dict.fromkeys((row.model, row.dataset) for row in PUBLISHED))
    ours = {(model.lower(), dataset.lower()) for model in models for dataset in datasets}
    return [cell for cell in cells if cell not in ours] if ours & set(cells) else []


def comparable(dataset: str, questions: float) -> bool:
    """Say whether a cell of so many test questions may stand beside published numbers; nan: it was not run."""
    return math.isnan(questions) or questions == TEST_ROWS.get(dataset.lower())


def published(model: str, dataset: str, plan: str, questions: float = math.nan) -> Published | None:
    """Return the published accuracy of `plan` for config names `model` and `dataset`, or None.

    `questions` of a cell that was run: another number of them than the published one has no published value.
    """
    for row in PUBLISHED if comparable(dataset, questions) else ():
        if (row.model, row.dataset, row.plan) == (model.lower(), dataset.lower(), plan):
            return row
    return None

"""Questions whose files are present, cut as `load_problems` cuts them: do the longest fit a model's context?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dpc.config.catalogue import Dataset, Format
from dpc.config.settings import Config
from dpc.storage import tokenizer_files
from dpc.tasks.dataset import Cut, read_splits
from dpc.tasks.formats import render
from dpc.tasks.splits import Question

DATASETS = Path("resources/datasets")
"""Where the fetch rule lays the files of the hub."""
ANSWERED = ("calibration", "test")
"""Splits whose questions a model answers; it reads the gold rationales of the others."""
TRIED = 50
"""The so many longest texts of a split are measured."""


def files_of(name: str, dataset: Dataset) -> tuple[list[Path], list[Path]]:
    """Return the files of training and test rows; both are empty where questions are generated."""
    if dataset.hub:
        folder = DATASETS / name
        return [folder / file for file in dataset.hub.train], [folder / file for file in dataset.hub.test]
    if not dataset.files:
        return [], []
    return [Path(dataset.files.train)] if dataset.files.train else [], [Path(dataset.files.test)]


@dataclass(frozen=True)
class Rows:
    """The rows of a dataset that are here, as `load_problems` cuts them."""

    splits: Cut
    notes: list[str]
    """What it drops, and which splits get fewer questions than they may."""


def cut(config: Config, name: str) -> Rows:
    """Return what becomes of a dataset's files of rows. Raises DpcError for what `load_problems` would refuse."""
    dataset = config.datasets[name]
    return Rows(*read_splits(dataset.own_task, *files_of(name, dataset), dataset.splits, name, dataset.columns))


def used(config: Config) -> list[str]:
    """Return the splits whose questions some model reads."""
    tuned = any(config.recipes[name].adapter is None for name in config.study.recipes)
    acts = ["act_select", "act_confirm"] if "act_heads" in config.needs else []
    return [*ANSWERED, "validation", *(["tuning"] if tuned else []), *acts]


def counter(folder: Path) -> Callable[[str], int]:
    """Return what counts the tokens of a text by the tokenizer in `folder`, special ones left out.

    Raises DpcError where there is none that reads.
    """
    tokenizer = tokenizer_files.words(folder)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def longest(
    splits: Cut, names: list[str], form: Format, new: int, count: Callable[[str], int], room: float = math.inf
) -> tuple[int, str]:
    """Return the most tokens that a question of the splits `names` and its rationale take, and its row.

    A rationale to be generated takes `new` tokens. What a chat template adds is not counted. Of each split the `TRIED`
    longest are measured, and all that have more bytes than `room`: no text has more tokens than bytes.
    """
    shots = [(shot.problem.question, shot.problem.rationale) for shot in splits["tuning"][: form.shots]]
    around = len(render("", form, shots).encode())
    found = [(0, "no question")]
    for name in names:
        answered, questions = name in ANSWERED, splits[name][form.shots if name == "tuning" else 0 :]
        sized = sorted(((_size(row, answered), row) for row in questions), key=lambda pair: -pair[0])
        doubtful = sum(around + size + (new if answered else 1) > room for size, _ in sized)
        for _, row in sized[: max(TRIED, doubtful)]:
            rationale = new if answered else count(row.problem.rationale) + 1
            found.append((count(render(row.problem.question, form, shots)) + rationale, row.source))
    return max(found)


def _size(row: Question, answered: bool) -> int:
    text = row.problem.question + ("" if answered else row.problem.rationale)
    return len(text.encode())

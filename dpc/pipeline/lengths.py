"""Own questions before the first job: can they be read and cut, and do the longest fit a model's context?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dpc.config.catalogue import Format
from dpc.config.settings import Config
from dpc.errors import DpcError
from dpc.tasks import get_task
from dpc.tasks.formats import render
from dpc.tasks.splits import Question, cut_splits

Cut = dict[str, list[Question]]
ANSWERED = ("calibration", "test")
"""Splits whose questions a model answers; it reads the gold rationales of the others."""
TRIED = 50
"""The so many longest texts of a split are measured."""


def cut(config: Config, name: str) -> Cut:
    """Return the splits of a dataset whose rows are files. Raises DpcError for what `load_problems` would refuse."""
    from dpc.tasks.rows import parse_rows  # pyarrow: every job imports this module

    dataset = config.datasets[name]
    files = dataset.files
    paths = [files.train, files.test] if files else []
    train, test = (parse_rows(get_task(dataset.task), Path(file)) if file else [] for file in paths)
    return cut_splits(train, test, dataset.splits, name)[0]


def used(config: Config) -> list[str]:
    """Return the splits whose questions some model reads."""
    tuned = any(config.recipes[name].adapter is None for name in config.study.recipes)
    acts = ["act_select", "act_confirm"] if "act_heads" in config.needs else []
    return [*ANSWERED, "validation", *(["tuning"] if tuned else []), *acts]


def counter(file: Path) -> Callable[[str], int]:
    """Return what counts the tokens of a text, special ones left out. Raises DpcError where `file` is no tokenizer."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises no narrower one
        raise DpcError(f"{file}: found no tokenizer ({error}); expected a whole file: copy or fetch it again") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def longest(splits: Cut, names: list[str], form: Format, new: int, count: Callable[[str], int]) -> tuple[int, str]:
    """Return the most tokens that a question of the splits `names` and its rationale take, and its row.

    A rationale to be generated takes `new` tokens. What a chat template adds is not counted.
    """
    shots = [(shot.problem.question, shot.problem.rationale) for shot in splits["tuning"][: form.shots]]
    found = [(0, "no question")]
    for name in names:
        answered, questions = name in ANSWERED, splits[name][form.shots if name == "tuning" else 0 :]
        for row in sorted(questions, key=lambda row: _size(row, answered))[-TRIED:]:
            rationale = new if answered else count(row.problem.rationale) + 1
            found.append((count(render(row.problem.question, form, shots)) + rationale, row.source))
    return max(found)


def _size(row: Question, answered: bool) -> int:
    text = row.problem.question + ("" if answered else row.problem.rationale)
    return len(text.encode())

"""From files of rows to splits whose gold answers can be graded: for `load_problems`, and for the check before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpc.config.catalogue import Splits
from dpc.config.kinds import AnyTask
from dpc.errors import DpcError
from dpc.tasks import get_task
from dpc.tasks.base import Problem, Task
from dpc.tasks.rows import Columns, example, parse_rows
from dpc.tasks.splits import Question, cut_splits

Cut = dict[str, list[Question]]


def read_splits(
    task: AnyTask, train: list[Path], test: list[Path], sizes: Splits, dataset: str, columns: Columns | None = None
) -> tuple[Cut, list[str]]:
    """Return the splits of the rows in `train` and `test`, and notes on them, as `cut_splits` does.

    `columns` says how rows call the task's fields, where they call them otherwise.

    Raises DpcError, one line that names the file, for a row that cannot be read, splits that cannot be cut, and a
    gold answer that its own task would not grade right.
    """
    module = get_task(task)
    names = short_names([*train, *test])
    read = [[(file, *row) for file in files for row in parse_rows(module, file, columns)] for files in (train, test)]
    places = {id(problem): file.with_name(source) for pool in read for file, source, problem in pool}
    own, held_out = (
        [(names[file] + source.removeprefix(file.name), problem) for file, source, problem in pool] for pool in read
    )
    splits, notes = cut_splits(own, held_out, sizes, dataset)
    for question in (question for questions in splits.values() for question in questions):
        _check_gold(module, question.problem, places[id(question.problem)], columns or {})
    return splits, notes


def short_names(files: Sequence[Path]) -> dict[Path, str]:
    """Return what tells each of `files` from the others: its name, with as many folders as it shares that name over.

    So the source of a row is the same on every machine: `test.jsonl`, or `algebra/test.jsonl` beside others of MATH.
    """
    names = {}
    for file in files:
        namesakes = {other.parts for other in files if other.name == file.name}
        lengths = range(1, max(map(len, namesakes)) + 2)  # `.` has no part
        count = next(length for length in lengths if len({parts[-length:] for parts in namesakes}) == len(namesakes))
        names[file] = Path(*file.parts[-count:]).as_posix()
    return names


def _check_gold(task: Task, problem: Problem, place: Path, columns: Columns) -> None:
    """Raise DpcError unless the gold rationale holds one answer mark, and what stands behind it is graded right."""
    try:
        right = _reads_right(task, problem)
    except DpcError as error:
        raise DpcError(f"{place}: {error}{example(task, columns)}") from None
    if not right:
        added = " (there the workflow adds it)" if task.FACTS.adds_mark else ""
        raise DpcError(
            f"{place}: gold answer {problem.answer!r} is not read from its own rationale; expected {task.ANSWER_MARK!r}"
            f" once, before the answer{added}: correct or remove the row{example(task, columns)}"
        )


def _reads_right(task: Task, problem: Problem) -> bool:
    is_marked_once = not task.FACTS.marks_once or problem.rationale.count(task.ANSWER_MARK) == 1
    found = task.extract(problem.rationale)[0]
    # text that is the same needs no grading, which takes MATH seconds per thousand rows
    return is_marked_once and (found == problem.answer or task.grade(found, problem.answer))

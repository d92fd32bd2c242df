"""Cut questions into disjoint splits, whatever the machine and the order of the rows (D22, D26, D30)."""

from __future__ import annotations

from dataclasses import dataclass

from dpc.config.catalogue import Splits
from dpc.errors import DpcError
from dpc.storage.hashing import hash_order
from dpc.tasks.base import Problem, problem_id

NAMES = ("tuning", "validation", "calibration", "act_select", "act_confirm", "test")


@dataclass(frozen=True)
class Question:
    """One problem with its id and the row it came from."""

    problem_id: str
    source: str
    problem: Problem


Pool = list[tuple[str, Problem]]


def cut_splits(train: Pool, test: Pool, sizes: Splits, dataset: str) -> tuple[dict[str, list[Question]], list[str]]:
    """Return the questions of each split of `NAMES`, and notes on what was dropped or not cut in full.

    Questions are put in the order of a hash of their id, and each split is a run of that order.

    - With training rows, calibration, validation, the two of ACT and then at most `sizes.tuning` for tuning
      come from them; test is all of `test`, or its first `sizes.test`.
    - Without, all come from `test`: calibration and validation first. If `sizes.test` is set, test and ACT's
      are cut next and in full, and tuning gets at most `sizes.tuning` of the rest; else ACT's and tuning are
      cut in full and test is all of the rest.

    The same question twice in a pool counts once. A training question that is also anywhere in `test` is
    refused or, with `sizes.on_overlap: drop`, dropped from training.

    Raises DpcError on such an overlap, and if a split that must be full is not or one stays empty: how many
    questions were found, and which key to change.
    """
    notes: list[str] = []
    held_out = _distinct(test, "test", dataset, notes)
    own = _distinct(train, "training", dataset, notes)
    fitting = {"calibration": sizes.calibration, "validation": sizes.validation}
    act = {"act_select": sizes.act_select, "act_confirm": sizes.act_confirm}
    if train:
        kept = _without_overlap(own, held_out, sizes, dataset, notes)
        cut = _cut(kept, fitting | act, "tuning", sizes.tuning, dataset, "training")
        cut |= _cut(held_out, {}, "test", sizes.test, dataset, "test")
    elif sizes.test is not None:
        cut = _cut(held_out, fitting | {"test": sizes.test} | act, "tuning", sizes.tuning, dataset, "test")
    else:
        cut = _cut(held_out, fitting | act | {"tuning": sizes.tuning}, "test", None, dataset, "test")
    for name in ("tuning", "test"):
        wanted = getattr(sizes, name)
        if wanted is not None and len(cut[name]) < wanted:
            notes.append(f"{name}: {len(cut[name])} questions, fewer than the {wanted} of splits.{name}")
    return {name: cut[name] for name in NAMES}, notes


def _distinct(pool: Pool, label: str, dataset: str, notes: list[str]) -> list[Question]:
    """Return the pool in hash order, the first of each question only."""
    first: dict[str, Question] = {}
    for source, problem in pool:
        key = problem_id(dataset, problem.question)
        first.setdefault(key, Question(key, source, problem))
    if len(first) < len(pool):
        notes.append(f"{label} rows: dropped {len(pool) - len(first)} that repeat an earlier question")
    return sorted(first.values(), key=lambda question: hash_order(question.problem_id))


def _without_overlap(
    own: list[Question], held_out: list[Question], sizes: Splits, dataset: str, notes: list[str]
) -> list[Question]:
    known = {question.problem_id for question in held_out}
    shared = [question for question in own if question.problem_id in known]
    if not shared:
        return own
    if sizes.on_overlap == "error":
        raise DpcError(
            f"dataset {dataset}: found {len(shared)} training questions that are also test questions, such as"
            f" {min(question.source for question in shared)}; expected none: correct the files, or write"
            f" `datasets.{dataset}.splits.on_overlap: drop`"
        )
    notes.append(f"training rows: dropped {len(shared)} that are also test questions")
    return [question for question in own if question.problem_id not in known]


def _cut(
    pool: list[Question], full: dict[str, int], last: str, most: int | None, dataset: str, label: str
) -> dict[str, list[Question]]:
    """Return the runs of `pool` named in `full`, of those lengths, and at most `most` of the rest as `last`.

    Raises DpcError if `last` would stay empty, which includes that a run before it cannot be filled.
    """
    start, cut = 0, {}
    for name, size in full.items():
        cut[name] = pool[start : start + size]
        start += size
    cut[last] = pool[start:][:most]
    if not cut[last]:
        sizes = {name: size for name, size in full.items() if size}
        needs = ", ".join([f"{size} for {name}" for name, size in sizes.items()] + [f"1 for {last}"])
        keys = " or ".join(f"`datasets.{dataset}.splits.{name}`" for name in sizes)
        raise DpcError(
            f"dataset {dataset}: found {len(pool)} {label} questions; expected at least {start + 1}"
            f" ({needs}): {f'lower {keys}' if full else 'give a file with questions'}"
        )
    return cut

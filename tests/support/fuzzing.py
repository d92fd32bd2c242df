"""Ask the check, and the first job behind it, about one configuration: each refuses in one line, or lets it pass."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.config.settings import load_config
from dpc.config.slices import ProblemsStage
from dpc.errors import DpcError
from dpc.pipeline import check, cost
from dpc.pipeline.lengths import files_of
from dpc.pipeline.stages import load_problems as problems
from dpc.storage import tables
from dpc.tasks.splits import NAMES

LONGEST_LINE = 1000


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def refusal(raw: dict[str, Any]) -> str | None:
    """Return the line in which `python -m dpc.pipeline.check` refuses a configuration, None where it passes.

    Raises what the check raises, which is a fault of it, and AssertionError where it says more or less than a line.
    """
    out, error = io.StringIO(), io.StringIO()
    with _environment(DPC_CONFIG=json.dumps(raw)), contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        status = check.main()
    if status == 0:
        assert "nothing in the way" in out.getvalue()
        assert error.getvalue() == ""
        return None
    (line,) = error.getvalue().splitlines()
    assert (status, line[:7], out.getvalue()) == (1, "error: ", "")
    assert len(line) < LONGEST_LINE
    assert line.isprintable()
    return line.removeprefix("error: ")


def plan(raw: dict[str, Any], name: str) -> None:
    """Do what every command does when it reads the configuration; what it refuses, it refuses in a line."""
    with contextlib.suppress(DpcError):
        cost.test_rows(load_config(raw).datasets[name])


def load(raw: dict[str, Any], name: str, folder: Path) -> pd.DataFrame | str:
    """Return what `load_problems` makes of a dataset, questions with their gold, or the line in which it refuses."""
    try:
        config = load_config(raw)
        dataset = config.datasets[name]
        train, test = files_of(name, dataset)
        sizes = {"splits": dataset.splits, "template": dataset.template, "generate": None}
        gold = [folder / "gold" / f"{split}.parquet" for split in NAMES]
        settings = ProblemsStage(dataset=name, task=dataset.task, **sizes)
        problems.run(settings, train=train, test=test, questions=folder / "questions.parquet", gold=gold)
    except DpcError as error:
        return str(error)
    asked = tables.read(folder / "questions.parquet", "questions")
    return asked.merge(pd.concat(tables.read(file, "gold") for file in gold), on="problem_id", validate="one_to_one")

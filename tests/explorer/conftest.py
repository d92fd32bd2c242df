"""A browser and a page of a small made-up cell, where there is a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dpc.pipeline.stages import write_explorer
from tests.explorer import browser
from tests.explorer.browser import Explorer
from tests.support import explorer_cells


def require(lack: str) -> None:
    """Skip where something is missing; in CI that is a failure."""
    if lack:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lack)


@dataclass(frozen=True)
class Made:
    """A page, and the tables that it was made from."""

    page: Path
    tables: dict[str, pd.DataFrame]
    size: explorer_cells.Size


def make(folder: Path, size: explorer_cells.Size) -> Made:
    """Write a cell and its page."""
    given = explorer_cells.make(folder, size)
    write_explorer.run(**given, out=folder / "explorer.html")
    read = {file.stem: pd.read_parquet(file) for file in folder.glob("*.parquet")}
    return Made(folder / "explorer.html", read, size)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("explorer"), explorer_cells.Size())


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """300 cases of a model of 24 layers, with 300 tokens under 100 vectors."""
    size = explorer_cells.Size(questions=300, layers=24, tokens=300, vectors=100, kept=300)
    return make(tmp_path_factory.mktemp("large"), size)


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    require(browser.missing())
    with browser.started() as running:
        yield running


@pytest.fixture(scope="session")
def explorer(driver: Any, made: Made) -> Explorer:
    return Explorer(driver, made.page)

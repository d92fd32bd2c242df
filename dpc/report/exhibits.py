"""What a figure or a table declares above its function; read from the files without importing them.

The rules, the report's categories and its short captions follow from that, and every job reads them with the Snakefile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from dpc.config.declared import declared

Function = TypeVar("Function", bound=Callable[..., Any])
Scope = Literal["cell", "recipes", "study", "validation"]


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """What figures and tables declare alike."""

    category: str
    """Where it stands in the report; the first ones sort first."""
    caption: str
    """One sentence for the report; the long caption, with settings and counts, stands in the figure or table itself."""
    tables: tuple[str, ...]
    """The tables it is made from (docs/results.md), of every seed; `exemplars` of the first seed alone."""
    of: Scope
    """What it shows: a model, dataset and recipe; all recipes of a model and dataset; or the whole study."""
    note: str = ""
    """A last sentence of the report's caption, behind the one that names the run."""

    def __call__(self, function: Function) -> Function:
        """Return the function unchanged."""
        return function


@dataclass(frozen=True, kw_only=True)
class figure(Exhibit):
    """Declare a figure above a function of `Tables` and settings that returns a `Drawing`."""

    of: Scope = "cell"
    shows_questions: bool = False
    """Whether it shows whole questions or answers: it is then left out of what is published."""


@dataclass(frozen=True, kw_only=True)
class table(Exhibit):
    """Declare a table above a function of `Tables` and settings that returns a `Table`."""

    of: Scope = "study"


FIGURES: dict[str, figure] = {
    name: figure(**each.values) for name, each in declared("report/figures", "figure").items()
}
TABLES: dict[str, table] = {name: table(**each.values) for name, each in declared("report/tables", "table").items()}


def of(scope: Scope, exhibits: Mapping[str, figure] | Mapping[str, table]) -> list[str]:
    """Return the names of the exhibits that show a cell, the recipes of a dataset, or the study."""
    return [name for name, each in exhibits.items() if each.of == scope]


def needed(scope: Scope) -> list[str]:
    """Return the tables that the exhibits of a scope are made from, each once."""
    exhibits = [*FIGURES.values(), *TABLES.values()]
    return list(dict.fromkeys(name for each in exhibits if each.of == scope for name in each.tables))

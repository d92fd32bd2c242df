"""From `config.yaml` to the slice that a stage is told: which class of `slices.py` is whose, and what fills it."""

from __future__ import annotations

import re
from typing import cast

from dpc.config import slices
from dpc.config.catalogue import Recipe
from dpc.config.declared import PACKAGE
from dpc.config.kinds import OwnTask, Settings
from dpc.config.settings import Config
from dpc.config.stages import DECLARED
from dpc.errors import DpcError


def _told(name: str) -> type[Settings]:
    """Return what the stage's `run` takes as `settings`, read from its text."""
    file = PACKAGE / "pipeline" / "stages" / f"{name}.py"
    found = re.search(r"^def run\(\s*settings: (\w+),", file.read_text(), re.MULTILINE)
    if not found:
        raise DpcError(f"{file}: found no `def run(settings: NAME, ...`; expected a class of dpc/config/slices.py")
    return cast(type[Settings], vars(slices)[found[1]])


STAGES: dict[str, type[Settings]] = {name: _told(name) for name in DECLARED}
"""Every stage, with what it is told."""


def slice_for(stage: str, config: Config, **wanted: object) -> str:
    """Return the settings of `stage` as canonical JSON.

    A field is taken from `wanted` if it is there, else from the chosen model, dataset or recipe (`wanted` names them
    as `model_name` and `dataset_name`), else from `config.study`, the top of `config`, its figures or its validation.
    Files are inputs of the rule, not settings, so that moving a file reruns what reads it.
    """
    kind = STAGES[stage]
    sources: list[object] = [config.validation, config.figures, config, config.study]
    if "model_name" in wanted:
        sources.append(config.models[str(wanted["model_name"])])
    if "dataset_name" in wanted:
        dataset = config.datasets[str(wanted["dataset_name"])]
        sources.append(dataset)
        wanted.setdefault("task", dataset.own_task)
    recipe = wanted.get("recipe")
    if isinstance(recipe, Recipe) and recipe.layout:
        wanted["layout"] = recipe.layout
    reads_labels = isinstance(recipe, Recipe) and recipe.reads_labels
    wanted["labelled_task"] = wanted["task"] if reads_labels and isinstance(wanted.get("task"), OwnTask) else None
    values = {field: _lookup(field, wanted, sources) for field in kind.model_fields}
    return kind.model_validate(values).model_dump_json()


def _lookup(field: str, wanted: dict[str, object], sources: list[object]) -> object:
    if field in wanted:
        return wanted[field]
    for source in reversed(sources):
        if hasattr(source, field):
            return getattr(source, field)
    raise KeyError(field)

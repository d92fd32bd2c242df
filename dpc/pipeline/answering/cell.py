"""A finished cell of a study: its prompt, its model, and the settings that its own stages had, from their footers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd
from pydantic import ValidationError

from dpc.config.catalogue import Format
from dpc.config.kinds import Settings
from dpc.config.messages import one_line
from dpc.config.slices import (
    ExtractSaliencyStage,
    GenerateActStage,
    GenerateStage,
    PlanStage,
    ProblemsStage,
    ReadFlowStage,
    RenderStage,
)
from dpc.errors import DpcError
from dpc.pipeline.stages.render_questions import rendered, worked_examples
from dpc.storage import tables

Kind = TypeVar("Kind", bound=Settings)
RUN = "run the study to its end, or name another cell: RESULTS/MODEL/DATASET/RECIPE/seedN"


@dataclass(frozen=True)
class Cell:
    """The folder RESULTS/MODEL/DATASET/RECIPE/seedN."""

    folder: Path
    model: Path
    """Folder of the language model."""

    @staticmethod
    def of(folder: Path, model: Path | None) -> Cell:
        """Open a cell; the model is `model`, or where it was when the prompt was tuned.

        Raises DpcError where the cell is not finished, or the model's folder is not there.
        """
        adapter = folder / "prompt" / "adapter_config.json"
        for file in (adapter, folder / "thresholds.parquet"):
            if not file.is_file():
                raise DpcError(f"{folder}: found no {file.relative_to(folder)}; expected a finished cell: {RUN}")
        named = Path(json.loads(adapter.read_text())["base_model_name_or_path"])
        found = next((place for place in ([model] if model else _places(folder, named)) if place.is_dir()), None)
        if found is None:
            raise DpcError(f"{model or named}: found no such model folder; write --model FOLDER")
        return Cell(folder, found)

    @property
    def prompt(self) -> Path:
        """Return the prompt's weights."""
        return self.folder / "prompt" / "adapter_model.safetensors"

    @property
    def thresholds(self) -> Path:
        """Return what calibration fitted."""
        return self.folder / "thresholds.parquet"

    @property
    def act_heads(self) -> Path | None:
        """Return the heads of attention calibration; None where the study had no plan that needs them."""
        file = self.folder / "act" / "heads.parquet"
        return file if file.is_file() else None

    @property
    def generation(self) -> GenerateStage:
        """Return how answers were generated."""
        return self._settings("generations/*.parquet", GenerateStage)

    @property
    def act_generation(self) -> GenerateActStage:
        """Return how answers with attention calibration were generated."""
        return self._settings("act_generations/*.parquet", GenerateActStage)

    @property
    def saliency(self) -> ExtractSaliencyStage:
        """Return how saliency was measured."""
        return self._settings("saliency/*.parquet", ExtractSaliencyStage)

    @property
    def flow(self) -> ReadFlowStage:
        """Return how flow was read off saliency."""
        return self._settings("flow.parquet", ReadFlowStage)

    @property
    def planning(self) -> PlanStage:
        """Return when the cell's plans fire, and what they do to the prompt."""
        return self._settings("plans/test.parquet", PlanStage)

    @property
    def problems(self) -> ProblemsStage:
        """Return what the questions of the cell's dataset are."""
        return self._settings(self._problems / "questions.parquet", ProblemsStage)

    def prompt_texts(self, questions: pd.Series[str]) -> pd.Series[str]:
        """Return what the model reads for each question (D29): as the study's own questions were put to it."""
        own, common = self.folder.parents[1] / "questions.parquet", self._problems / "questions.parquet"
        if own.is_file():
            settings = self._settings(own, RenderStage)
            asked, gold = tables.read(common, "questions"), self._problems / "gold" / "tuning.parquet"
            shown = worked_examples(asked, tables.read(gold, "gold"), settings.format.shots)
        else:
            settings = RenderStage(format=Format(template=self.problems.template))
            shown = pd.DataFrame({"question": [], "rationale": []})
        return rendered(questions, settings, shown, self.model)

    @property
    def _problems(self) -> Path:
        return self.folder.parents[3] / "problems" / self.folder.parents[1].name

    def _settings(self, place: str | Path, kind: type[Kind]) -> Kind:
        """Return the settings in a table's footer. Raises DpcError where there is no table, or another version's."""
        files = _newest(self.folder.glob(place)) if isinstance(place, str) else [place]
        if not files or not files[0].is_file():
            raise DpcError(f"{self.folder}: found no {place}; expected a finished cell: {RUN}")
        told, *others = [tables.provenance(file)["settings"] for file in files]
        if any(other != told for other in others):
            raise DpcError(f"{self.folder}: found shards of {place} that were made with different settings; {RUN}")
        try:
            return kind.model_validate(told)
        except ValidationError as error:
            said = one_line(error, kind, told)
            raise DpcError(
                f"{files[0]}: made by another version of the workflow ({said}); run the study again"
            ) from None


def _newest(files: Iterable[Path]) -> list[Path]:
    """Return the file that was written last, and all shards of its count: those of an earlier count are left there."""
    found = sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True)
    return [file for file in found if file.stem.partition("-of-")[2] == found[0].stem.partition("-of-")[2]]


def _places(cell: Path, named: Path) -> list[Path]:
    """Return where a model may lie: as it was named, or beside the folder in which the results were made."""
    return [named, *(parent / named for parent in cell.resolve().parents)]

"""The steps of an answer, in a folder beside the output: what an earlier run has finished stands there and is taken."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.stages import VERSIONS
from dpc.pipeline.answering.cell import Cell
from dpc.pipeline.stages import generate_act, generate_base, regenerate
from dpc.pipeline.stages.extract_saliency import Part, joined, measured
from dpc.storage import tables
from dpc.storage.files import atomic
from dpc.storage.provenance import provenance
from dpc.storage.store import Store, context

ONE = {"shard": 1, "shards": 1}


@dataclass(frozen=True)
class Work:
    """Tables of one run of `answer`, each made once by the stage that makes it in the study."""

    folder: Path
    cell: Cell
    execution: Execution

    def begin(self, asked: pd.DataFrame, plans: list[str]) -> None:
        """Write table `questions`; what the folder holds of other questions, plans, code or another cell is deleted."""
        made_from = self.folder / "made_from"
        if not made_from.is_file() or made_from.read_text() != self._context(asked, plans):
            shutil.rmtree(self.folder, ignore_errors=True)
        tables.write(self.questions, "questions", asked, {})
        with atomic(made_from) as temporary:
            temporary.write_text(self._context(asked, plans))

    def _context(self, asked: pd.DataFrame, plans: list[str]) -> str:
        cell, heads = self.cell, self.cell.act_heads
        told = [cell.generation, cell.saliency, cell.flow, cell.planning]
        files = [cell.thresholds.read_bytes(), heads.read_bytes() if heads else b""]
        content = [
            context("regenerate", cell.generation, cell.model, cell.prompt, asked),
            *(hashlib.sha256(data).hexdigest() for data in files),
            *([settings.model_dump(mode="json") for settings in told]),
            [plans, VERSIONS],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def questions(self) -> Path:
        """Return the file of table `questions`."""
        return self.folder / "questions.parquet"

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"

    def _store(self, name: str) -> Path:
        return self.folder / "store" / name

    def generations(self, prompt: Path | None) -> Path:
        """Return the answers under the cell's prompt, or without one."""
        name = "unprompted" if prompt is None else "base"
        if not (out := self._file(name)).is_file():
            generate_base.run(
                self.cell.generation,
                model=self.cell.model,
                questions=self.questions,
                prompt=prompt,
                store=self._store(name),
                out=out,
                execution=self.execution,
                **ONE,
            )
        return out

    def act(self, heads: Path, base: Path) -> Path:
        """Return the answers with attention calibration: none where no head is confirmed."""
        if not (out := self._file("act")).is_file():
            generate_act.run(
                self.cell.act_generation,
                model=self.cell.model,
                prompt=self.cell.prompt,
                questions=self.questions,
                heads=heads,
                base=[base],
                store=self._store("act"),
                out=out,
                execution=self.execution,
                **ONE,
            )
        return out

    def saliency(self, part: Part, base: Path, ids: Collection[str]) -> pd.DataFrame:
        """Return rows of table `saliency` of these questions, measured as far as `part` says."""
        rows = joined(self.questions, [base])
        rows = rows[rows["problem_id"].isin(ids)].reset_index(drop=True)
        told, cell = self.cell.saliency, self.cell
        of_part = rows[["problem_id", "prompt_text", "token_ids"]].assign(part=str(part))
        kept = Store(
            self._store(part.name),
            "saliency",
            context("extract_saliency", told, cell.model, cell.prompt, of_part),
            self.execution,
        )
        return kept.complete(rows, lambda left: measured(told, cell.model, cell.prompt, left, self.execution, part))[0]

    def regenerations(self, plans: pd.DataFrame, base: list[Path]) -> Path:
        """Return the answers under the edits that `plans` ask for, drafted from `base`."""
        tables.write(self._file("plans"), "plans", plans, provenance("plan", self.cell.planning))
        out = self._file("regenerations")
        regenerate.run(
            self.cell.generation,
            model=self.cell.model,
            prompt=self.cell.prompt,
            questions=self.questions,
            plans=self._file("plans"),
            base=base,
            made=[],
            store=self._store("regenerations"),
            out=out,
            execution=self.execution,
            **ONE,
        )
        return out

    def remove(self) -> None:
        """Delete the folder: the output is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

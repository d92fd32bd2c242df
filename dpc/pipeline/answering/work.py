"""The steps of an answer, in a folder beside the output: what an earlier run has finished stands there and is taken."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.stages import VERSIONS
from dpc.errors import DpcError
from dpc.pipeline.answering.cell import Cell
from dpc.pipeline.generation import Job, Traced
from dpc.pipeline.stages import generate_act, generate_base, regenerate
from dpc.pipeline.stages.extract_saliency import Part, Said, joined, measured, measured_from_traces
from dpc.storage import tables
from dpc.storage.files import atomic
from dpc.storage.interrupt import Asked
from dpc.storage.provenance import provenance
from dpc.storage.store import Store, context

if TYPE_CHECKING:
    from dpc.lm.decoding import Generated
    from dpc.lm.models import LanguageModel

ONE = {"shard": 1, "shards": 1}


@dataclass
class Work:
    """Tables of one run of `answer`, each made once by the stage that makes it in the study."""

    folder: Path
    cell: Cell
    execution: Execution
    traced: dict[str, list[pd.DataFrame]] = field(default_factory=dict)
    """By name of a part, what was measured while answers were made; a run that was stopped measures it anew."""
    asked_to_stop: Asked = field(default_factory=Asked)
    """A signal that came when a step had nothing left to do ends the work before the next one."""

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
        """Return where a step keeps what is finished. Raises DpcError where a signal asked to stop."""
        if signal := self.asked_to_stop():
            raise DpcError(f"stopped by {signal} before {name}; run the same command again to go on")
        return self.folder / "store" / name

    def generations(self, prompt: Path | None, part: Part | None = None) -> Path:
        """Return the answers under the cell's prompt, or without one.

        Of `part`, saliency of rationale rows, is measured what decoding has left of each of them.
        """
        name = "unprompted" if prompt is None else "base"
        if not (out := self._file(name)).is_file():
            generate_base.answer_all(
                self.cell.generation,
                model=self.cell.model,
                questions=self.questions,
                prompt=prompt,
                store=self._store(name),
                out=out,
                execution=self.execution,
                traced=self._traced(part) if part else None,
                **ONE,
            )
        return out

    def _traced(self, part: Part) -> Traced:
        """Return what measures `part` from traces, batch by batch."""
        found = self.traced.setdefault(part.name, [])

        def take(lm: LanguageModel, jobs: Sequence[Job], made: Sequence[Generated]) -> None:
            said = [
                Said(job.problem_id, job.split, job.request.question_ids, one.token_ids, one.trace)
                for job, one in zip(jobs, made, strict=True)
                if one.trace
            ]
            found.extend(measured_from_traces(self.cell.saliency, lm, self.cell.prompt, said, self.execution, part))

        return Traced(part.layers, take)

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

        def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
            for found in self.traced.get(part.name, []):
                yield found[found["problem_id"].isin(left["problem_id"])]
                left = left[~left["problem_id"].isin(found["problem_id"])]
            if len(left):
                yield from measured(told, cell.model, cell.prompt, left, self.execution, part)

        return kept.complete(rows, make)[0]

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

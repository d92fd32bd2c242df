"""Measure saliency again where a plan fired: on the new rationale, under the corrupted prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.slices import ExtractCorruptedStage, ExtractSaliencyStage
from dpc.config.stages import stage
from dpc.errors import DpcError
from dpc.pipeline.progress import log, progress
from dpc.pipeline.stages.extract_saliency import longest_first, measure_rows
from dpc.plans.registry import edits_of
from dpc.prompts.edits import Edit
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.store import Store, context

STAGE = stage(version=7, rate="saliency")


def run(
    settings: ExtractCorruptedStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    plans: Path,
    regenerations: list[Path],
    store: Path,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `corrupted`, one row per question and edit of `settings.mechanism.plans`.

    Finished batches lie in `store` until the table is written. Raises DpcError if an edit was not regenerated.
    """
    rows = _rows(settings, plans, regenerations, questions)
    texts = rows[["problem_id", "edit_id", "prompt_text", "token_ids"]]
    kept = Store(store, "corrupted", context("extract_corrupted", settings, model, prompt, texts), execution)

    def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        from dpc.lm import models
        from dpc.lm.batches import in_batches
        from dpc.prompts import nearest, soft_prompt

        lm = models.load(model, settings.dtype, execution, settings.attention, settings.bos)
        base, put_in = soft_prompt.load(prompt, lm), nearest.replacements(lm)
        stage = ExtractSaliencyStage(**{name: getattr(settings, name) for name in ExtractSaliencyStage.model_fields})
        with progress(len(left), "saliency", "question") as bar:
            for edit_id, group in left.groupby("edit_id"):  # a batch shares its edit
                edited = base.under(Edit.from_row(group.iloc[0]), put_in)

                def measure(batch: Any, edited: Any = edited) -> list[dict[str, Any]]:
                    return measure_rows(lm, stage, edited, execution.checkpoint_activations, batch)

                for batch, found in in_batches(longest_first(lm, group), execution.batch_size.saliency, measure):
                    bar.add(len(batch))
                    yield pd.DataFrame(found).assign(edit_id=edit_id)

    table, device = kept.complete(rows, make)
    tables.write(out, "corrupted", table, provenance("extract_corrupted", settings, model=model, device=device))
    kept.remove()


def _rows(settings: ExtractCorruptedStage, plans: Path, regenerations: list[Path], questions: Path) -> pd.DataFrame:
    """Return what the plans asked for, with its edit, its new rationale and its question."""
    planned = tables.read(plans, "plans")
    wanted = edits_of(planned[planned["plan"].isin(settings.mechanism.plans)])
    hidden = wanted["mask"] == "attention"
    if hidden.any():
        log.info("%d edits hide positions from attention: saliency cannot be measured under them", hidden.sum())
    wanted = wanted[~hidden]
    made = tables.read(regenerations, "regenerations")[["problem_id", "edit_id", "split", "token_ids"]]
    asked = tables.read(questions, "questions")[["problem_id", "prompt_text"]]
    rows = wanted.merge(made, on=["problem_id", "edit_id"], validate="one_to_one")
    if len(rows) < len(wanted):
        raise DpcError(f"{len(wanted) - len(rows)} planned edits were not regenerated; run regenerate again")
    return rows.merge(asked, on="problem_id", validate="many_to_one")

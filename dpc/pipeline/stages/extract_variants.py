"""Measure saliency of some calibration questions, once in every other way."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dpc.analysis.studies.saliency_variants import GOLD, measurements
from dpc.config.execution import Execution
from dpc.config.slices import ExtractVariantsStage
from dpc.config.stages import stage
from dpc.errors import DpcError
from dpc.pipeline.progress import log, progress
from dpc.pipeline.stages.extract_saliency import joined, longest_first, measure_rows
from dpc.storage import tables
from dpc.storage.hashing import hash_order
from dpc.storage.provenance import provenance
from dpc.storage.store import Store, context

if TYPE_CHECKING:
    from dpc.lm.models import LanguageModel

STAGE = stage(version=6, rate="saliency")

SPLIT = "calibration"


def run(
    settings: ExtractVariantsStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    generations: list[Path],
    gold: Path,
    store: Path,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `variant_saliency`, one row per way to measure and question; `gold` is calibration's.

    Finished batches lie in `store` until the table is written. Raises DpcError if a question's gold is missing.
    """
    ways = measurements(settings.saliency)
    sample = _sample(settings.variants.rows, joined(questions, generations), tables.read(gold, "gold"))
    rows = pd.concat([sample.assign(variant=name) for name in ways], ignore_index=True)
    texts = rows[["variant", "problem_id", "prompt_text", "token_ids", "rationale"]]
    kept = Store(store, "variant_saliency", context("extract_variants", settings, model, prompt, texts), execution)

    def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        from dpc.lm import models
        from dpc.lm.batches import in_batches
        from dpc.lm.saliency import measuring as saliency
        from dpc.prompts import soft_prompt

        lm = models.load(model, settings.dtype, execution, settings.attention, settings.bos)
        asked_under, prefix = soft_prompt.load(prompt, lm), saliency.Prefix()
        with progress(len(left), "saliency", "question") as bar:
            for name, group in left.groupby("variant", sort=False):
                stage = settings.model_copy(update={"saliency": ways[str(name)]})
                measure = partial(measure_rows, lm, stage, asked_under, execution.checkpoint_activations, prefix=prefix)
                own = _with_gold(lm, group, asked_under.vectors) if name == GOLD else group
                for batch, found in in_batches(longest_first(lm, own), execution.batch_size.saliency, measure):
                    bar.add(len(batch))
                    yield pd.DataFrame(found).assign(variant=name)

    table, device = kept.complete(rows, make)
    about = provenance("extract_variants", settings, model=model, device=device)
    tables.write(out, "variant_saliency", table, about)
    kept.remove()


def _sample(count: int, made: pd.DataFrame, gold: pd.DataFrame) -> pd.DataFrame:
    """Return the first `count` calibration questions by hash, with what was generated and the gold rationale."""
    calibration = made[made["split"] == SPLIT]
    if len(calibration) < count:
        log.warning("variants.rows is %d; calibration has %d questions, all are measured", count, len(calibration))
    sample = calibration.sort_values("problem_id", key=lambda ids: ids.map(hash_order)).head(count)
    sample = sample.merge(gold[["problem_id", "rationale"]], on="problem_id", how="left", validate="one_to_one")
    if missing := int(sample["rationale"].isna().sum()):
        raise DpcError(f"{missing} calibration questions have no gold rationale; give calibration's gold")
    return sample


def _with_gold(lm: LanguageModel, rows: pd.DataFrame, vectors: int) -> pd.DataFrame:
    """Put the gold rationale and the end mark, as prompts are tuned on them, in place of the model's own tokens."""
    from dpc.lm.layout import check_length

    gold = [[*lm.encode(text), lm.end_ids[0]] for text in rows["rationale"]]
    for text, ids in zip(rows["prompt_text"], gold, strict=True):
        check_length(lm, vectors, len(lm.encode(text)), len(ids))
    return rows.assign(token_ids=pd.Series(gold, index=rows.index, dtype=object))

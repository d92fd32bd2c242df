"""Generate rationales of test questions with attention calibration in the confirmed heads, if there are any."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dpc.analysis.studies.head_selection import heads_of
from dpc.config.execution import Execution
from dpc.config.slices import GenerateActStage
from dpc.config.stages import stage
from dpc.pipeline.generation import Job, generate_rows
from dpc.pipeline.progress import log
from dpc.prompts.edits import ACT
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.shards import of_shard
from dpc.storage.store import Store, context

if TYPE_CHECKING:
    from dpc.lm.models import LanguageModel
    from dpc.prompts.soft_prompt import SoftPrompt

STAGE = stage(version=4, rate="generate", shards="generate")


def run(
    settings: GenerateActStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    heads: Path,
    base: list[Path],
    store: Path,
    shard: int,
    shards: int,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `generations` of shard `shard` of `shards`: no row where no head is confirmed.

    Finished batches lie in `store` until the table is written: a killed job goes on from there.
    """
    switched_on = heads_of(tables.read(heads, "act_heads"))
    if not switched_on:
        log.warning("no head is confirmed: ACT's answers are prompt tuning's")
        tables.write(out, "generations", tables.empty("generations"), provenance("generate_act", settings, model=model))
        return
    before = tables.read(base, "generations").set_index("problem_id")["token_ids"]
    asked = tables.read(questions, "questions")
    asked = of_shard(asked[asked["split"] == "test"], shard, shards)
    texts = asked[["problem_id", "split", "prompt_text"]].assign(edit_id=ACT, heads=str(switched_on))
    kept = Store(store, "generations", context("generate_act", settings, model, prompt, texts), execution)

    def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        from dpc.lm import models
        from dpc.lm.decoding import generate
        from dpc.lm.prefill import Calibrated
        from dpc.prompts import soft_prompt

        lm = models.load(model, settings.dtype, execution, settings.attention, settings.bos)
        jobs = _jobs(lm, soft_prompt.load(prompt, lm), left, before)
        act = Calibrated(settings.act, switched_on)
        yield from generate_rows(lm, settings, jobs, execution, "generate act", kept, partial(generate, act=act))

    rows, device = kept.complete(texts, make)
    about = provenance("generate_act", settings, model=model, device=device, heads=switched_on)
    tables.write(out, "generations", rows, about)
    kept.remove()


def _jobs(lm: LanguageModel, prompt: SoftPrompt, left: pd.DataFrame, before: pd.Series[Any]) -> list[Job]:
    """Return the questions to answer; `before` are prompt tuning's answers, which guess at these."""
    from dpc.lm.decoding import Request

    made = []
    for row in tables.rows(left):
        draft, ids = before[row.problem_id].tolist(), lm.encode(row.prompt_text)
        request = Request(ids, prompt.of(ids), expected_tokens=len(draft), draft=draft)
        made.append(Job(row.problem_id, row.split, ACT, request))
    return made

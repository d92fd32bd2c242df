"""Generate rationales under the base prompt, or without a prompt where none is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.slices import GenerateStage
from dpc.config.stages import stage
from dpc.pipeline.generation import Job, Traced, generate_rows
from dpc.prompts.edits import BASE, UNPROMPTED
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.shards import of_shard
from dpc.storage.store import Store, context

STAGE = stage(version=4, rate="generate", shards="generate", rules=("generate_unprompted", "generate_base"))

EVALUATED_SPLITS = ("calibration", "test")


def run(
    settings: GenerateStage,
    *,
    model: Path,
    questions: Path,
    prompt: Path | None = None,
    store: Path,
    shard: int,
    shards: int,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `generations` of shard `shard` of `shards` over calibration and test questions.

    Finished batches lie in `store` until the table is written: a killed job goes on from there.
    """
    answer_all(settings, model, questions, prompt, store, shard, shards, out, execution)


def answer_all(
    settings: GenerateStage,
    model: Path,
    questions: Path,
    prompt: Path | None,
    store: Path,
    shard: int,
    shards: int,
    out: Path,
    execution: Execution,
    traced: Traced | None = None,
) -> None:
    """Do what `run` does; `traced` gets what decoding leaves of each row that is made now."""
    asked = tables.read(questions, "questions")
    asked = of_shard(asked[asked["split"].isin(EVALUATED_SPLITS)], shard, shards)
    texts = asked[["problem_id", "split", "prompt_text"]]
    made_in = context("generate_base", settings, model, prompt, texts)
    kept = Store(store, "generations", made_in, execution, execution.engine)
    edit_id = UNPROMPTED if prompt is None else BASE

    def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        from dpc.lm.decoding import Request
        from dpc.lm.engines import engine
        from dpc.prompts import soft_prompt

        with engine(model, settings, execution) as (lm, answer):
            found = None if prompt is None else soft_prompt.load(prompt, lm)
            asked = [(row, lm.encode(row.prompt_text)) for row in tables.rows(left)]
            jobs = [
                Job(row.problem_id, row.split, edit_id, Request(ids, None if found is None else found.of(ids)))
                for row, ids in asked
            ]
            yield from generate_rows(lm, settings, jobs, execution, f"generate {edit_id}", kept, answer, traced)

    rows, device = kept.complete(texts.assign(edit_id=edit_id), make)
    about = provenance("generate_base", settings, model=model, device=device, engine=kept.engines)
    tables.write(out, "generations", rows, about)
    kept.remove()

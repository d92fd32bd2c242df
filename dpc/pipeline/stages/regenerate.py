"""Answer questions again under the edits that plans ask for; earlier answers are taken from the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.slices import GenerateStage
from dpc.config.stages import stage
from dpc.pipeline.generation import Job, generate_rows
from dpc.plans.registry import edits_of
from dpc.prompts.edits import Edit
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.shards import of_shard
from dpc.storage.store import Store, context

if TYPE_CHECKING:
    from dpc.lm.models import LanguageModel

STAGE = stage(version=4, rate="generate", shards="generate")


def run(
    settings: GenerateStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    plans: Path,
    base: list[Path],
    made: list[Path],
    store: Path,
    shard: int,
    shards: int,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `regenerations` with one row per question and edit of `plans` in this shard.

    What stands in `made`, regenerations of another part, is left out: that part has answered it.
    `store` keeps rows between runs, outside the rule's outputs: a new plan makes only its new edits, and a killed job
    goes on where it was.
    """
    planned = edits_of(tables.read(plans, "plans"))
    wanted = of_shard(_not_in(planned, tables.read(made, "regenerations")), shard, shards)
    asked = tables.read(questions, "questions")
    texts = asked[["problem_id", "split", "prompt_text"]]
    made_in = context("regenerate", settings, model, prompt, texts)
    kept = Store(store, "regenerations", made_in, execution, execution.engine)

    def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        from dpc.lm.engines import engine

        # of all that is wanted: what is left must be cut into the batches that it was in
        group = {edit: i for i, edit in enumerate(wanted["edit_id"].unique())}
        with engine(model, settings, execution) as (lm, answer):
            jobs = _jobs(lm, left, group, prompt, asked, tables.read(base, "generations"))
            yield from generate_rows(lm, settings, jobs, execution, "regenerate", kept, answer)

    rows, device = kept.complete(wanted, make)
    about = provenance("regenerate", settings, model=model, device=device, engine=kept.engines)
    tables.write(out, "regenerations", rows, about)
    kept.merge()


def _not_in(planned: pd.DataFrame, made: pd.DataFrame) -> pd.DataFrame:
    """Return the edits that `made` does not hold."""
    key = ["problem_id", "edit_id"]
    is_made = pd.MultiIndex.from_frame(planned[key]).isin(pd.MultiIndex.from_frame(made[key]))
    return planned[~is_made].reset_index(drop=True)


def _jobs(
    lm: LanguageModel, new: pd.DataFrame, group: dict[str, int], prompt: Path, asked: pd.DataFrame, base: pd.DataFrame
) -> list[Job]:
    from dpc.lm.decoding import Request
    from dpc.prompts import nearest, soft_prompt

    found = soft_prompt.load(prompt, lm, "cpu")  # thousands of edited prompts do not have to lie on the GPU
    put_in = nearest.replacements(lm)
    text, split = (asked.set_index("problem_id")[column] for column in ("prompt_text", "split"))
    before = base.set_index("problem_id")["token_ids"]
    edited, encoded, jobs = {}, {}, []
    for row in tables.rows(new):
        key, edit = row.problem_id, Edit.from_row(row)
        if row.edit_id not in edited:
            edited[row.edit_id] = found.under(edit, put_in)
        if key not in encoded:
            encoded[key] = lm.encode(text[key])
        hidden = edit.masked if edit.mask == "attention" else ()
        draft = before[key].tolist()
        prompt_ND = edited[row.edit_id].of(encoded[key])
        request = Request(encoded[key], prompt_ND, hidden, len(draft), group[row.edit_id], draft)
        jobs.append(Job(key, split[key], row.edit_id, request))
    return jobs

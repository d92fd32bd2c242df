"""Generate rationales under the base prompt, or without a prompt where none is given."""

from __future__ import annotations

from pathlib import Path

from dpc import tables
from dpc.edits import BASE, UNPROMPTED
from dpc.settings import Execution
from dpc.stage_settings import GenerateStage
from dpc.stages.common import of_shard, provenance
from dpc.stages.generation import Job, generate_rows, in_order

EVALUATED_SPLITS = ("calibration", "test")


def run(
    settings: GenerateStage,
    *,
    model: Path,
    questions: Path,
    prompt: Path | None = None,
    shard: int,
    shards: int,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `generations` of shard `shard` of `shards` over calibration and test questions."""
    from dpc.lm import models, soft_prompt
    from dpc.lm.decoding import Request

    lm = models.load(model, settings.dtype, execution)
    prompt_ND = None if prompt is None else soft_prompt.load(prompt, lm)
    edit_id = UNPROMPTED if prompt is None else BASE
    asked = of_shard(tables.read(questions, "questions"), shard, shards)
    jobs = [
        Job(row.problem_id, row.split, edit_id, Request(lm.encode(row.prompt_text), prompt_ND))
        for row in tables.rows(asked)
        if row.split in EVALUATED_SPLITS
    ]
    rows = in_order(list(generate_rows(lm, settings, jobs, execution, f"generate {edit_id}")))
    tables.write(out, "generations", rows, provenance("generate_base", settings, device=str(lm.device)))

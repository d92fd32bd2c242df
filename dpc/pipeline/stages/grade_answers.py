"""Grade answers of one split against its gold: every later stage reads these verdicts, and no other gold."""

from __future__ import annotations

from pathlib import Path

from dpc.analysis.studies.outcomes import grade, per_problem
from dpc.config.slices import GradeAnswersStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.tasks import get_task

STAGE = stage(version=1, rules=("grade_answers", "grade_unprompted"))

READ = ["problem_id", "split", "edit_id", "extracted", "extracted_lenient"]


def run(settings: GradeAnswersStage, *, answers: list[Path], gold: Path, split: str, out: Path) -> None:
    """Write table `verdicts`: one row per question of `split` and edit; `answers` may hold other splits too.

    Raises DpcError if a question has no gold.
    """
    made = tables.read(answers, "generations", READ)
    own = made[made["split"] == split].reset_index(drop=True)
    known = tables.read(gold, "gold")
    graded = grade(own, known, get_task(settings.task))
    table = graded.assign(steps=per_problem(graded["problem_id"], known, "steps", "gold"))
    log.info("%d answers, %d right", len(table), table["correct"].sum())
    tables.write(out, "verdicts", table, provenance("grade_answers", settings, split=split))

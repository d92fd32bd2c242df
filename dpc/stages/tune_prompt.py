"""Tune one soft prompt on the gold rationales of the tuning split."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpc import tables
from dpc.settings import Execution
from dpc.stage_settings import TunePromptStage
from dpc.stages.common import log, progress, provenance


def run(
    settings: TunePromptStage,
    *,
    model: Path,
    questions: Path,
    tuning: Path,
    validation: Path,
    weights: Path,
    adapter: Path,
    history: Path,
    execution: Execution,
) -> None:
    """Write the prompt as a PEFT adapter (`weights`, `adapter`) and the looks at its loss (`history`)."""
    from dpc.lm import models, soft_prompt, training
    from dpc.lm.layout import layout_of

    lm = models.load(model, settings.dtype, execution)
    asked = tables.read(questions, "questions")
    examples, held_out = (_examples(lm, settings, asked, tables.read(gold, "gold")) for gold in (tuning, validation))
    with progress(settings.recipe.steps, "tune prompt", "step") as bar:
        prompt_ND, looks, kept = training.tune(
            lm,
            layout_of(lm, settings.layout),
            settings.recipe,
            settings.seed,
            examples,
            held_out,
            lambda step, loss: bar.add(1, loss=loss),
        )
    log.info("kept the prompt of step %d of %d", kept, looks[-1].step)
    rows = pd.DataFrame([vars(look) for look in looks])
    soft_prompt.save(prompt_ND, weights, adapter, str(model), lm)
    tables.write(
        history,
        "training",
        rows.assign(kept=rows["step"] == kept),
        provenance("tune_prompt", settings, device=str(lm.device), examples=len(examples)),
    )


def _examples(lm, settings: TunePromptStage, asked: pd.DataFrame, gold: pd.DataFrame) -> list:  # type: ignore[no-untyped-def]
    """Return the token ids of each question and its gold rationale, the end mark included."""
    from dpc.lm.layout import check_length
    from dpc.lm.training import Example

    joined = gold.merge(asked, on="problem_id", validate="one_to_one")
    examples = []
    for row in tables.rows(joined):
        example = Example(lm.encode(row.prompt_text), [*lm.encode(row.rationale), lm.end_ids[0]])
        check_length(lm, settings.recipe.vectors, len(example.question_ids), len(example.rationale_ids))
        examples.append(example)
    return examples

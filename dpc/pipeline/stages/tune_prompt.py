"""Tune one soft prompt on the gold rationales of the tuning split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.slices import TunePromptStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log, progress
from dpc.storage import adapter_files, tables
from dpc.storage.adapter_files import WEIGHTS, Tokens, stranger
from dpc.storage.interrupt import Abandoned, Asked, interruptible, stopped
from dpc.storage.provenance import provenance
from dpc.storage.store import context
from dpc.tasks import get_task
from dpc.tasks.base import OptionsTask

if TYPE_CHECKING:
    from torch import Tensor

    from dpc.lm.examples import Example
    from dpc.lm.layout import Layout
    from dpc.lm.models import LanguageModel
    from dpc.prompts.tuners import Tuning
    from dpc.prompts.tuners.checkpoint import Checkpoint

STAGE = stage(version=4, rate="tune")
READ = ["problem_id", "split", "prompt_text", "rationale"]
"""What a state of a tuning is kept with: another text, and tuning starts again."""


def run(
    settings: TunePromptStage,
    *,
    model: Path,
    questions: Path,
    tuning: Path,
    validation: Path,
    checkpoint: Path,
    weights: Path,
    adapter: Path,
    history: Path,
    given: Path | None = None,
    execution: Execution,
) -> None:
    """Write the prompt as a PEFT adapter (`weights`, `adapter`) and the looks at its loss (`history`).

    `checkpoint` is a file outside the rule's outputs from which a killed job goes on; it is deleted at the end. `given`
    is an adapter's folder: its prompt is taken as it is, and its validation loss is all there is to look at.
    """
    from dpc.lm import models
    from dpc.lm.layout import layout_of
    from dpc.prompts import soft_prompt
    from dpc.prompts.tuners import tuning_of
    from dpc.prompts.tuners.checkpoint import Checkpoint

    read = _read(questions, {"tuning": tuning, "validation": validation})
    made_with = context("tune_prompt", settings, model, None, read[READ])
    kept = Checkpoint(checkpoint, made_with, execution.save_every_seconds)
    lm = models.load(model, settings.dtype, execution, settings.attention, settings.bos)
    examples, held_out = (_examples(lm, settings, read[read["split"] == part]) for part in ("tuning", "validation"))
    order, rows = layout_of(lm, settings.layout), execution.batch_size.tune
    work = tuning_of(settings.recipe.tuner)(lm, order, settings.recipe, settings.seed, examples, held_out, rows)
    if given is not None:
        work.bring_in(soft_prompt.adapter(given, lm, settings.recipe.vectors))
        _look_at(lm, order, work.kept_ND, held_out, given, model)
    else:
        kept.resume(work)
        _finish(work, kept)
        log.info("kept the prompt of step %d of %d", work.kept_step, work.step)
    soft_prompt.save(work.kept_ND, weights, adapter, str(model), lm, _tokens(work, given))
    looks = pd.DataFrame([vars(look) for look in work.looks])
    spent: dict[str, Any] = {"cost": work.cost.state(), "search": _trials(work)}
    footer = provenance("tune_prompt", settings, model=model, device=str(lm.device), examples=len(examples), **spent)
    tables.write(history, "training", looks.assign(kept=looks["step"] == work.kept_step), footer)
    kept.remove()


def _tokens(work: Tuning, given: Path | None) -> Tokens | None:
    """Return what a discrete prompt says, found here or brought in."""
    from dpc.prompts.tuners.search import Search

    if given is not None:
        return adapter_files.tokens(given / WEIGHTS)
    return work.tokens if isinstance(work, Search) else None


def _trials(work: Tuning) -> list[dict[str, Any]]:
    """Return the prompts that were tried, for `describe_prompt`: a file of their own would make old runs run again."""
    from dpc.prompts.tuners.search import Search

    return [vars(trial) for trial in work.trials] if isinstance(work, Search) else []


def _look_at(
    lm: LanguageModel, order: Layout, prompt_ND: Tensor, held_out: list[Example], given: Path, model: Path
) -> None:
    """Say how much the prompt of `given` changes; warn where it changes nothing, or was tuned on another model."""
    from dpc.lm.effect import changed_tokens

    if strange := stranger(given, model):
        log.warning("%s", strange)
    changed, tokens = changed_tokens(lm, order, prompt_ND, held_out)
    log.info("the prompt of %s was tuned elsewhere; it changes the next token at %d of %d", given, changed, tokens)
    if not changed:
        log.warning(
            "%s: this prompt changes none of %d next tokens in gold rationales of validation questions: is it the "
            "intended one, and was it tuned on this model and in this layout?",
            given,
            tokens,
        )


def _finish(work: Tuning, kept: Checkpoint) -> None:
    """Do the steps that are left; raise DpcError where a signal asked to stop."""
    steps = work.steps
    with progress(steps - work.step, "tune prompt", "step") as bar, interruptible() as asked_to_stop:
        while not work.is_over:
            loss = _step(work, kept, asked_to_stop)
            bar.add(1, loss=loss)
            signal = asked_to_stop()
            kept.save(work, now=bool(signal) or work.is_over)
            if signal and not work.is_over:
                raise stopped(signal, work.step, steps, "steps")


def _step(work: Tuning, kept: Checkpoint, asked_to_stop: Asked) -> float:
    """Do a step and return its loss; where a stop cannot wait for its end, keep what was there before it."""
    done = work.step
    try:
        with asked_to_stop.abandonable():
            return work.advance()
    except Abandoned:
        kept.write()
        raise stopped(asked_to_stop(), done, work.steps, "steps") from None


def _read(questions: Path, gold: dict[str, Path]) -> pd.DataFrame:
    """Return each question's text, gold rationale and answer, by split."""
    asked = tables.read(questions, "questions")[["problem_id", "prompt_text"]]
    parts = [
        tables.read(file, "gold").merge(asked, on="problem_id", validate="one_to_one").assign(split=split)
        for split, file in gold.items()
    ]
    return pd.concat(parts)[[*READ, "answer"]]


def _examples(lm: LanguageModel, settings: TunePromptStage, rows: pd.DataFrame) -> list[Example]:
    from dpc.lm.examples import gold_example

    vectors, task = settings.recipe.vectors, settings.labelled_task
    labels = cast(OptionsTask, get_task(task)).labels if task else ()
    return [gold_example(lm, vectors, row.prompt_text, row.rationale, row.answer, labels) for row in tables.rows(rows)]

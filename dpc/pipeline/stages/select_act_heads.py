"""Select the heads of attention calibration on held-out questions with the prompt attached, and confirm their union."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dpc.analysis.studies import head_selection
from dpc.config.execution import Execution
from dpc.config.layers import layer_range
from dpc.config.slices import SelectActHeadsStage
from dpc.config.stages import stage
from dpc.errors import DpcError
from dpc.pipeline.progress import log, progress
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.store import Store, context

if TYPE_CHECKING:
    from dpc.lm.act.head_scores import HeadScores
    from dpc.lm.examples import Example

STAGE = stage(version=2, rate="saliency")


def run(
    settings: SelectActHeadsStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    select: Path,
    confirm: Path,
    store: Path,
    heads: Path,
    scores: Path,
    execution: Execution,
) -> None:
    """Write tables `act_heads` and `act_scores`; `select` and `confirm` are the gold tables of ACT's two splits.

    Finished questions lie in `store` until the tables are written: a killed job goes on from there. Raises DpcError
    where a split has fewer than two questions.
    """
    from dpc.lm import models

    read = {part: _read(questions, gold) for part, gold in (("act_select", select), ("act_confirm", confirm))}
    kept = Store(store, "act_scores", context("select_act_heads", settings, model, prompt, pd.concat(read)), execution)
    lm = models.load(model, settings.dtype, execution, settings.attention, settings.bos)
    try:
        layers = list(layer_range(settings.act.layers, lm.model.config.num_hidden_layers))
    except DpcError as error:
        raise DpcError(f"act.layers: {error}") from None
    work = _Work(lm, settings, prompt, layers, execution)
    table, device = kept.complete(read["act_select"], work.each)
    selected = head_selection.select(table, layers, settings.act.standard_errors)
    found = _confirmed(settings, work, selected, read["act_confirm"])
    about = provenance("select_act_heads", settings, model=model, device=device, layers=layers)
    tables.write(scores, "act_scores", table, about)
    tables.write(heads, "act_heads", found, about)
    kept.remove()


def _confirmed(
    settings: SelectActHeadsStage, work: _Work, selected: pd.DataFrame, confirm: pd.DataFrame
) -> pd.DataFrame:
    """Return table `act_heads`: the union of what was selected, tried on the second split."""
    chosen, bar = head_selection.heads_of(selected, "kept"), settings.act.standard_errors
    union = head_selection.paired_gain(*work.together(confirm, chosen)) if chosen else None
    found = head_selection.confirm(selected, union, bar)
    log.info("%d of %d heads gain more than %g standard errors", int(selected["kept"].sum()), len(selected), bar)
    if union is None or not union.exceeds(bar):
        gain = f": its gain is {union.gain:.4f} nats per token (SE {union.se:.4f})" if union else ""
        log.warning("all kept heads together are not confirmed%s: ACT is switched on in no head", gain)
    else:
        log.info("all kept heads together gain %.4f nats per token (SE %.4f): confirmed", union.gain, union.se)
    return found


def _read(questions: Path, gold: Path) -> pd.DataFrame:
    """Return each question's text and gold rationale."""
    asked = tables.read(questions, "questions")[["problem_id", "prompt_text"]]
    rows = tables.read(gold, "gold").merge(asked, on="problem_id", validate="one_to_one")
    if len(rows) < 2:
        raise DpcError(
            f"{gold}: found {len(rows)} questions, expected at least 2: set `datasets.NAME.splits.{gold.stem}`"
        )
    return rows[["problem_id", "prompt_text", "rationale"]]


class _Work:
    """The model at work on questions, the longest first, as many at once as memory holds."""

    def __init__(self, lm: Any, settings: SelectActHeadsStage, prompt: Path, layers: list[int], execution: Execution):
        from dpc.lm.act.head_scores import HeadScores
        from dpc.lm.layout import layout_of
        from dpc.prompts import soft_prompt

        self.lm, self.layers, self.rows = lm, layers, execution.batch_size.act
        found = soft_prompt.load(prompt, lm)
        self.vectors = found.vectors
        self.scores: HeadScores = HeadScores(lm, layout_of(lm, settings.layout), found.rows, settings.act)

    def each(self, left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """Yield rows of table `act_scores`, batch by batch; all heads of a layer go through the model at once."""
        from dpc.lm.batches import in_batches

        size = max(1, self.rows // self.lm.model.config.num_attention_heads)
        with progress(len(left), "heads", "question") as bar:
            for batch, found in in_batches(self._longest_first(left), size, self._each):
                bar.add(len(batch))
                yield pd.DataFrame(found)

    def _each(self, batch: Sequence[tuple[str, Example]]) -> list[dict[str, Any]]:
        base, tried = self.scores.each([example for _, example in batch], self.layers)
        by_question = zip(*(head for layer in tried for head in layer), strict=True)
        return [
            {"problem_id": key, "base": before, "calibrated": list(after)}
            for (key, _), before, after in zip(batch, base, by_question, strict=True)
        ]

    def together(self, rows: pd.DataFrame, heads: dict[int, list[int]]) -> tuple[list[float], list[float]]:
        """Return each question's NLL as it is, and with all of `heads` switched on."""
        from dpc.lm.batches import in_batches

        def both(batch: Sequence[tuple[str, Example]]) -> tuple[list[float], list[float]]:
            examples = [example for _, example in batch]
            return self.scores.together(examples, {}), self.scores.together(examples, heads)

        found = [pair for _, pair in in_batches(self._longest_first(rows), self.rows, both)]
        return [nll for before, _ in found for nll in before], [nll for _, after in found for nll in after]

    def _longest_first(self, rows: pd.DataFrame) -> list[tuple[str, Example]]:
        from dpc.lm.examples import gold_example

        made = [
            (row.problem_id, gold_example(self.lm, self.vectors, row.prompt_text, row.rationale))
            for row in tables.rows(rows)
        ]
        return sorted(made, key=lambda pair: (-len(pair[1]), pair[0]))

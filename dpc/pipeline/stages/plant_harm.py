"""Plant harm in a working prompt at known positions: which rule of locating finds it, and what does masking restore?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dpc.analysis.readings import locating
from dpc.analysis.readings.flow import Instance
from dpc.analysis.studies.outcomes import grade
from dpc.analysis.studies.planted import NATURAL
from dpc.config.execution import Execution
from dpc.config.slices import ExtractSaliencyStage, GenerateStage, ValidateStage, refuse_unfollowed
from dpc.config.stages import stage
from dpc.errors import DpcError
from dpc.pipeline.generation import Job, generate_rows
from dpc.pipeline.progress import log, progress
from dpc.pipeline.stages.extract_saliency import longest_first, measure_rows
from dpc.prompts.edits import Edit
from dpc.storage import tables
from dpc.storage.hashing import hash_order
from dpc.storage.provenance import provenance
from dpc.tasks import get_task

if TYPE_CHECKING:
    from torch import Tensor

    from dpc.lm.examples import Example
    from dpc.lm.models import LanguageModel

STAGE = stage(version=8, rate="generate", saves=False)

SPARED = 0.95
"""Share of the accuracy that must be left without a vector that harm may stand in for."""


def run(
    settings: ValidateStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    tuning: Path,
    gold: list[Path],
    out: Path,
    causal: Path,
    execution: Execution,
) -> None:
    """Write table `planted`: one row per question, position (-1: nothing planted) and rule of locating.

    Beside it table `planted_causal`: what interventions on the same rationales find.

    `tuning` is the gold that harm is optimised on, `gold` that of the splits that are answered.
    """
    from dpc.lm import models
    from dpc.prompts import soft_prompt

    refuse_unfollowed(trigger=settings.trigger)
    lm = models.load(model, settings.dtype, execution, settings.attention, settings.bos)
    asked, answers = tables.read(questions, "questions"), tables.read(gold, "gold")
    bench = Bench(lm, settings, execution, _sampled(asked, settings), answers)
    asked_under = soft_prompt.load(prompt, lm)
    if not isinstance(asked_under, soft_prompt.Shared):
        raise DpcError(f"{prompt}: found a prompt for each question; expected one for all, to plant harm in")
    base_ND = asked_under.prompt_ND
    examples = _examples(lm, len(base_ND), asked, tables.read(tuning, "gold"))
    clean = bench.right("clean", base_ND)
    planted = [_plant(bench, base_ND, position, examples) for position in _positions(bench, base_ND, clean)]
    found, tried = [], []
    with progress(1 + len(planted), "validate", "prompt") as bar:
        for position, prompt_ND in [(NATURAL, base_ND), *planted]:
            made = bench.answers([("planted", prompt_ND, (), bench.question_ids)])
            rows = bench.located(prompt_ND, position, made)
            found.append(rows.assign(clean_correct=lambda t: t["problem_id"].map(clean)))
            tried.append(intervened(bench, base_ND, prompt_ND, position, made))
            bar.add(1)
    table = pd.concat(found, ignore_index=True)
    log.info("accuracy by position: %s", table.groupby("position")["planted_correct"].mean().round(3).to_dict())
    about = provenance("plant_harm", settings, model=model, device=str(lm.device))
    tables.write(causal, "planted_causal", pd.concat(tried, ignore_index=True), about)
    tables.write(out, "planted", table, about)


def _sampled(asked: pd.DataFrame, settings: ValidateStage) -> pd.DataFrame:
    """Return the first questions of each split that is answered, by hash."""
    rows = asked[asked["split"].isin(settings.splits)]
    ordered = rows.sort_values("problem_id", key=lambda ids: ids.map(lambda key: hash_order(key, "validate")))
    return ordered.groupby("split").head(settings.planting.questions)


def _positions(bench: Bench, base_ND: Tensor, clean: pd.Series[Any]) -> list[int]:
    """Draw where to plant, another draw for every prompt: places whose own vector the prompt can spare.

    Masking it must keep `SPARED` of the accuracy on calibration questions; else masking the harm that stands in its
    place could not restore the answers, however rightly it was located.
    """
    if not bench.settings.is_planted:
        return []
    found = list[int]()
    for position in np.random.default_rng(bench.settings.seed).permutation(len(base_ND)).tolist():
        if len(found) == bench.settings.planting.positions:
            break
        keys = bench.asked.loc[bench.asked["split"] == "calibration", "problem_id"]
        after = bench.answers([(str(position), *bench.masked(base_ND, position), keys)])["correct"].mean()
        if after >= SPARED * clean[keys].mean():
            found.append(position)
    log.info("harm is planted at %s", found)
    return found


def _examples(lm: LanguageModel, vectors: int, asked: pd.DataFrame, gold: pd.DataFrame) -> list[Example]:
    from dpc.lm.examples import gold_example

    rows = tables.rows(gold.merge(asked, on="problem_id", validate="one_to_one"))
    return [gold_example(lm, vectors, row.prompt_text, row.rationale) for row in rows]


def _plant(bench: Bench, base_ND: Tensor, position: int, examples: list[Example]) -> tuple[int, Tensor]:
    from dpc.lm.layout import layout_of
    from dpc.prompts.planting import Planting, plant

    settings, how = bench.settings, bench.settings.planting
    layout, seed = layout_of(bench.lm, settings.layout), 1000 * settings.seed + position
    planting = Planting(how.steps, how.batch_size, how.rate)
    return position, plant(bench.lm, layout, base_ND, position, examples, planting, seed).to(base_ND)


@dataclass(frozen=True)
class Bench:
    """Answers, grades and measures the same questions under any prompt."""

    lm: LanguageModel
    settings: ValidateStage
    execution: Execution
    asked: pd.DataFrame
    gold: pd.DataFrame

    @cached_property
    def question_ids(self) -> dict[str, list[int]]:
        """Return every question's tokens."""
        return {row.problem_id: self.lm.encode(row.prompt_text) for row in tables.rows(self.asked)}

    def answers(self, wanted: Iterable[tuple[str, Tensor, tuple[int, ...], Iterable[str]]]) -> pd.DataFrame:
        """Return graded generations; each item is an edit's name, its prompt, hidden vectors and questions."""
        from dpc.lm.decoding import Request

        settings, split = self.settings, self.asked.set_index("problem_id")["split"]
        stage = GenerateStage(**{name: getattr(settings, name) for name in GenerateStage.model_fields})
        jobs = [
            Job(key, split[key], name, Request(self.question_ids[key], prompt_ND, hidden, group=group))
            for group, (name, prompt_ND, hidden, keys) in enumerate(wanted)
            for key in keys
        ]
        made = pd.concat(list(generate_rows(self.lm, stage, jobs, self.execution, "validate")))
        return grade(made, self.gold, get_task(settings.task))

    def masked(self, prompt_ND: Tensor, position: int) -> tuple[Tensor, tuple[int, ...]]:
        """Return the prompt with one vector masked as DPC does, gamma left out, and the vectors to hide."""
        from dpc.prompts import soft_prompt

        corrupt = self.settings.corrupt
        edit = Edit((position,), corrupt.mask, corrupt.mask_value)
        hidden = (position,) if corrupt.mask == "attention" else ()
        return soft_prompt.corrupt(prompt_ND, edit, self.lm.vocabulary_VD.mean(0)), hidden

    def right(self, name: str, prompt_ND: Tensor) -> pd.Series[Any]:
        """Return which questions are answered right under a prompt."""
        return self.answers([(name, prompt_ND, (), self.question_ids)]).set_index("problem_id")["correct"]

    def located(self, prompt_ND: Tensor, position: int, made: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of table `planted` for one prompt and its graded answers, `clean_correct` aside."""
        instances, lengths = self._measured(prompt_ND, made), prompt_ND.float().norm(dim=1).cpu().numpy()
        settings = self.settings
        found = locating.located(instances, lengths, settings.flow, settings.trigger)
        base = made.set_index("problem_id")
        long_enough = found["rationale_tokens"] >= settings.trigger.min_tokens
        found = found.assign(
            split=found["problem_id"].map(base["split"]),
            vectors=len(prompt_ND),
            position=position,
            planted_correct=found["problem_id"].map(base["correct"]),
            eligible=long_enough & found["problem_id"].map(base["extracted"].notna()),
        )
        after = self._masked(prompt_ND, found, position)
        pairs = pd.MultiIndex.from_frame(found[["problem_id", "located"]])
        true = pd.MultiIndex.from_arrays([found["problem_id"], [position] * len(found)])
        return found.assign(
            located_correct=after.loc[pairs].to_numpy(),
            true_correct=after.loc[true].to_numpy() if position != NATURAL else None,
        )

    def _measured(self, prompt_ND: Tensor, made: pd.DataFrame) -> list[Instance]:
        from dpc.lm.batches import in_batches
        from dpc.prompts.soft_prompt import Shared

        settings = self.settings
        stage = ExtractSaliencyStage(**{name: getattr(settings, name) for name in ExtractSaliencyStage.model_fields})
        rows = made.merge(self.asked[["problem_id", "prompt_text"]], on="problem_id", validate="one_to_one")

        def measure(batch: Any) -> list[dict[str, Any]]:
            return measure_rows(self.lm, stage, Shared(prompt_ND), self.execution.checkpoint_activations, batch)

        batches = in_batches(longest_first(self.lm, rows), self.execution.batch_size.saliency, measure)
        table = pd.DataFrame([row for _, measured in batches for row in measured])
        return [Instance.of(row) for row in tables.rows(table.sort_values("problem_id"))]

    def _masked(self, prompt_ND: Tensor, found: pd.DataFrame, position: int) -> pd.Series[Any]:
        """Return right or wrong by question and masked vector, of those some rule located and of the true one."""
        pairs = found[["problem_id", "located"]]
        if position != NATURAL:
            pairs = pd.concat([pairs, pairs.assign(located=position)])
        asked: dict[Any, list[str]] = {
            j: rows["problem_id"].tolist() for j, rows in pairs.drop_duplicates().groupby("located")
        }
        wanted = [(str(j), *self.masked(prompt_ND, int(j)), keys) for j, keys in asked.items()]
        graded = self.answers(wanted).assign(located=lambda t: t["edit_id"].astype(int))
        return graded.set_index(["problem_id", "located"])["correct"]


def intervened(bench: Bench, base_ND: Tensor, prompt_ND: Tensor, position: int, made: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of table `planted_causal` for one prompt: each vector masked, and the harmful one's dose and cut.

    On test questions, or on those of calibration where no others are answered. Without a harmful vector: masks alone.
    """
    own = made[made["split"] == ("test" if "test" in bench.settings.splits else "calibration")]
    rows = [("mask", str(j), effect_B) for j, effect_B in enumerate(_effects(bench, prompt_ND, own))]
    if position != NATURAL:
        import torch

        keys = list(own["problem_id"])
        for test, zero_D in (("dose_right", torch.zeros_like(base_ND[position])), ("harm_right", base_ND[position])):
            rows.append((test, "1", list(own["correct"])))
            rows += [(test, f"{dose:g}", right) for dose, right in _doses(bench, prompt_ND, position, zero_D, keys)]
        rows += [("cut_right", "every", _right(bench, [("every", prompt_ND, (position,), keys)], keys))]
        rows += [("cut_right", "late", _cut_late(bench, prompt_ND, position, own))]
    return pd.concat(
        pd.DataFrame({"problem_id": list(own["problem_id"]), "test": test, "target": target, "value": list(values)})
        for test, target, values in rows
    ).assign(position=position).astype({"value": float})  # fmt: skip


def _effects(bench: Bench, prompt_ND: Tensor, own: pd.DataFrame) -> list[list[float]]:
    """Return, for each vector, what masking it adds to the mean NLL of each rationale."""
    from dpc.lm.batches import in_batches
    from dpc.lm.causal.heads import head_of
    from dpc.lm.causal.passes import Body, token_nll
    from dpc.lm.layout import layout_of

    layout, records = layout_of(bench.lm, bench.settings.layout), list(tables.rows(own))

    def losses(edited_ND: Tensor) -> list[float]:
        def work(rows: Any) -> list[float]:
            body = Body([bench.question_ids[row.problem_id] for row in rows], [list(row.token_ids) for row in rows])
            return [float(nll.mean()) for nll in token_nll(bench.lm, head_of(bench.lm, layout, edited_ND[None]), body)]

        return [x for _, found in in_batches(records, bench.execution.batch_size.saliency, work) for x in found]

    base = losses(prompt_ND)
    return [
        [x - y for x, y in zip(losses(bench.masked(prompt_ND, j)[0]), base, strict=True)]
        for j in range(len(prompt_ND))
    ]  # fmt: skip


def _right(bench: Bench, wanted: list[Any], keys: list[str]) -> list[float]:
    return list(bench.answers(wanted).set_index("problem_id").loc[keys, "correct"].astype(float))


def _doses(
    bench: Bench, prompt_ND: Tensor, position: int, zero_D: Tensor, keys: list[str]
) -> Iterable[tuple[float, list[float]]]:
    """Yield what is right between `zero_D` (dose 0) and the harmful vector (dose 1) and beyond.

    From 0 the vector keeps its direction, and normalisation takes most of the dose away; from the vector that worked,
    it is the harm that grows.
    """
    from dpc.lm.causal.interventions import DOSES

    for dose in DOSES:
        edited_ND = prompt_ND.clone()
        edited_ND[position] = zero_D + dose * (prompt_ND[position] - zero_D)
        yield dose, _right(bench, [(f"{dose:g}", edited_ND, (), keys)], keys)


def _cut_late(bench: Bench, prompt_ND: Tensor, position: int, own: pd.DataFrame) -> list[float]:
    """Return whether each answer is right if the rows of its latter half do not see the harmful vector."""
    from dpc.lm.batches import in_batches
    from dpc.lm.causal.continuing import Begun, continued
    from dpc.lm.decoding import Limits, finish
    from dpc.lm.layout import layout_of

    settings, task, gold = bench.settings, get_task(bench.settings.task), bench.gold.set_index("problem_id")["answer"]
    layout, limits = layout_of(bench.lm, settings.layout), Limits(settings.max_new_tokens, tuple(settings.stop))
    column, layers = layout.prompt_start() + position, range(bench.lm.model.config.num_hidden_layers)

    def work(rows: Any) -> list[float]:
        begun = [
            Begun(bench.question_ids[row.problem_id], list(row.token_ids)[: len(row.token_ids) // 2], [column])
            for row in rows
        ]
        said = continued(bench.lm, layout, prompt_ND, begun, limits, layers)
        texts = [finish(bench.lm, ids, limits, 0.0).text for ids in said]
        return [
            float(task.grade(task.extract(text)[0], gold[row.problem_id]))
            for row, text in zip(rows, texts, strict=True)
        ]

    batches = in_batches(list(tables.rows(own)), bench.execution.batch_size.generate, work)
    return [x for _, found in batches for x in found]

"""Intervene on a sample of stored rationales: does the flow do the harm?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dpc.analysis.readings.reading import received_saliency
from dpc.config.execution import Execution
from dpc.config.kinds import AnyTask
from dpc.config.layers import layer_range
from dpc.config.slices import InterveneStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log, progress
from dpc.storage import adapter_files, tables
from dpc.storage.hashing import hash_order
from dpc.storage.provenance import provenance
from dpc.storage.store import Store, context
from dpc.tasks import get_task

if TYPE_CHECKING:
    from torch import Tensor

    from dpc.lm.causal.interventions import Bench, Case
    from dpc.lm.models import LanguageModel

STAGE = stage(version=3, rate="saliency")

MARK_TOKENS = 8
"""Behind so many tokens at most the answer stands, counted from its mark: `\\boxed` and `{`, a dollar sign."""


def run(
    settings: InterveneStage,
    *,
    model: Path,
    prompt: Path,
    other: list[Path],
    questions: Path,
    flow: Path,
    generations: list[Path],
    unprompted: list[Path],
    base: Path,
    alone: Path,
    store: Path,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `causal` of one cell: what each test of `causal.tests` finds on `causal.rows` test questions.

    `other` is another seed's prompt, if there is one; `base` and `alone` are the test verdicts on the answers with and
    without the prompt. Finished batches lie in `store` until the table is written.
    """
    rows = _sampled(settings, flow, questions, (generations, base), (unprompted, alone))
    is_shared = adapter_files.is_shared(prompt)
    if not is_shared:
        log.warning("each question has a prompt of its own: nothing is intervened on")
    rows = rows.assign(other=_other(other)) if settings.causal.tests and is_shared else rows.head(0)
    kept = Store(store, "interventions", context("intervene", settings, model, prompt, rows), execution)

    def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        from dpc.lm import models
        from dpc.lm.batches import in_batches

        lm = models.load(model, settings.dtype, execution, settings.attention, settings.bos)
        bench = _bench(lm, settings, execution, prompt, other, rows.set_index("problem_id")["answer"])
        cases = sorted((case_of(lm, settings, row) for row in tables.rows(left)), key=_longest_first)
        with progress(len(cases), "interventions", "question") as bar:
            work = partial(intervened, bench, settings.causal.tests)
            for batch, found in in_batches(cases, execution.batch_size.saliency, work):
                bar.add(len(batch))
                yield found

    table, device = kept.complete(rows, make)
    tables.write(out, "causal", _long(table), provenance("intervene", settings, model=model, device=device))
    kept.remove()


Answers = tuple[list[Path], Path]
"""Tables of generations, and the verdicts on them."""


def _sampled(settings: InterveneStage, flow: Path, questions: Path, mine: Answers, free: Answers) -> pd.DataFrame:
    """Return the first test questions by hash, the same under every prompt, with c_j and both answers.

    Those that the prompt broke are rare, and some tests are about them alone: as many of them, at most, come beside.
    """
    read, order = tables.read(flow, "flow"), partial(hash_order, salt="causal")
    found = read[read["split"] == "test"].sort_values("problem_id", key=lambda ids: ids.map(order))
    parts = (
        tables.read(questions, "questions", ["problem_id", "prompt_text"]),
        tables.read(mine[0], "generations", ["problem_id", "token_ids", "text", "extracted"]),
        tables.read(mine[1], "verdicts", ["problem_id", "answer", "correct"]),
        tables.read(free[0], "generations", ["problem_id", "token_ids"]).rename(columns={"token_ids": "free_ids"}),
        tables.read(free[1], "verdicts", ["problem_id", "correct_lenient"]),
    )
    for part in parts:
        found = found.merge(part, on="problem_id", how="left", validate="one_to_one")
    count = settings.causal.rows
    if len(found) < count:
        log.warning("causal.rows is %d; there are %d test questions, all are used", count, len(found))
    found = found.assign(sampled=np.arange(len(found)) < count, broken=found["correct_lenient"] & ~found["correct"])
    found = found[found["sampled"] | (found["broken"] & (found["broken"].cumsum() <= count))]
    saliency = [received_saliency(row, settings.trigger_if_affected).tolist() for row in tables.rows(found)]
    kept = [
        "problem_id",
        "former",
        "sampled",
        "broken",
        *(name for part in parts for name in part if name != "problem_id"),
    ]
    return found[kept].assign(saliency=saliency)


def _other(prompts: Sequence[Path]) -> str:
    return hash_order("".join(file.read_bytes().hex() for file in prompts))


def _longest_first(case: Case) -> tuple[int, str]:
    return -len(case.question_ids) - len(case.rationale_ids), case.problem_id


def _bench(
    lm: LanguageModel, settings: InterveneStage, execution: Execution, prompt: Path, other: list[Path], gold: pd.Series
) -> Bench:
    from dpc.lm.causal.interventions import Bench
    from dpc.lm.decoding import Limits
    from dpc.lm.layout import layout_of

    task, depth, own_ND = get_task(settings.task), lm.model.config.num_hidden_layers, _vectors(prompt, lm)
    bands = {"shallow": settings.flow.shallow_layers, "deep": settings.flow.deep_layers, "all": "all"}

    def is_right(problem_id: str, text: str, leniently: bool) -> bool:
        return task.grade(task.extract(text)[leniently], gold[problem_id])

    return Bench(
        lm,
        layout_of(lm, settings.layout),
        own_ND,
        _exchanged(own_ND, [_vectors(file, lm) for file in other]),
        {name: layer_range(band, depth) for name, band in bands.items()},
        Limits(settings.max_new_tokens, tuple(settings.stop)),
        execution.batch_size.generate,
        execution.checkpoint_activations,
        is_right,
    )


def _vectors(prompt: Path, lm: LanguageModel) -> Tensor:
    from dpc.prompts import soft_prompt

    return soft_prompt.load(prompt, lm).rows([])


def _exchanged(own_ND: Tensor, others: Sequence[Tensor]) -> Tensor | None:
    """Return the other seed's prompt; None without one, and for one of another length: columns have no counterpart."""
    for other_ND in others:
        if other_ND.shape == own_ND.shape:
            return other_ND
        log.warning("this prompt has %d vectors, the other seed's %d: test path is not run", len(own_ND), len(other_ND))
    return None


def case_of(lm: LanguageModel, settings: InterveneStage, row: Any) -> Case:
    """Return a row of the sample as the tests take it."""
    from dpc.lm.causal.interventions import Case

    ids = [int(token) for token in row.token_ids]
    marked, gold = behind_mark(lm, settings.task, ids, row.text, row.extracted, row.answer)
    return Case(
        problem_id=row.problem_id,
        question_ids=lm.encode(row.prompt_text),
        rationale_ids=ids,
        former=int(row.former),
        saliency_N=[float(value) for value in row.saliency],
        marked=marked,
        gold_ids=gold,
        unprompted_ids=tuple(map(int, row.free_ids)) if row.broken else (),
        sampled=bool(row.sampled),
    )


def behind_mark(
    lm: LanguageModel, task: AnyTask, ids: Sequence[int], text: str, extracted: str | None, answer: str
) -> tuple[int | None, tuple[int, ...]]:
    """Return how many tokens stand before the answer, and the gold answer's tokens in its place; None without a mark.

    Before the answer means: all whose text ends at the mark, or before the answer's first letter behind it.
    """
    end = get_task(task).mark_end(text)
    if end is None or pd.isna(extracted):
        return None, ()
    start = end + len(re.match(r"[^\w+-]*", text[end:]).group())  # type: ignore[union-attr]  # it matches nothing too
    count = next(t for t in range(len(ids), -1, -1) if len(lm.decode(list(ids[:t]))) <= max(start, end))
    lead = text[len(lm.decode(list(ids[:count]))) : start]
    return count, tuple(lm.encode(lead + answer))


def intervened(bench: Bench, tests: Sequence[str], cases: Sequence[Case]) -> pd.DataFrame:
    """Return one row of table `interventions` per case."""
    from dpc.lm.causal.interventions import OF_BROKEN, TESTS

    found: dict[str, list[tuple[str, str, float]]] = {case.problem_id: [] for case in cases}
    for name in tests:
        chosen = [case for case in cases if (case.unprompted_ids if name in OF_BROKEN else case.sampled)]
        for key, test, target, value in TESTS[name](bench, chosen) if chosen else ():
            found[key].append((test, target, value))
    rows = [{"problem_id": key, **_packed(values)} for key, values in found.items()]
    return pd.DataFrame(rows, columns=["problem_id", "test", "target", "value"])


def _packed(values: Sequence[tuple[str, str, float]]) -> dict[str, list[Any]]:
    return {name: [value[place] for value in values] for place, name in enumerate(("test", "target", "value"))}


def _long(packed: pd.DataFrame) -> pd.DataFrame:
    """Return one row per question, test and target."""
    long = packed.explode(["test", "target", "value"], ignore_index=True).dropna(subset=["test"])
    return long.astype({"value": np.float64})

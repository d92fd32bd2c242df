"""Keep full saliency maps of one right and one wrong instance, for the figure that shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.slices import ExtractExemplarsStage
from dpc.config.stages import stage
from dpc.pipeline.stages.extract_saliency import joined, lay_out, loss_start
from dpc.storage import tables
from dpc.storage.provenance import provenance

if TYPE_CHECKING:
    from dpc.prompts.soft_prompt import SoftPrompt

STAGE = stage(version=5, rate="saliency", saves=False)


def run(
    settings: ExtractExemplarsStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    generations: list[Path],
    chosen: Path,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `exemplars`: the full map of every layer for each instance of table `chosen`."""
    from dpc.lm import models
    from dpc.prompts import soft_prompt

    lm = models.load(model, settings.dtype, execution, settings.attention, settings.bos)
    asked_under = soft_prompt.load(prompt, lm)
    rows = joined(questions, generations).set_index("problem_id", drop=False)
    found = []
    for instance in tables.rows(tables.read(chosen, "chosen")):
        found += _maps(lm, settings, asked_under, rows.loc[instance.problem_id], instance.role)
    table = pd.DataFrame(found, columns=list(tables.SCHEMAS["exemplars"]))
    tables.write(out, "exemplars", table, provenance("extract_exemplars", settings, model=model, device=str(lm.device)))


def _maps(lm: Any, settings: ExtractExemplarsStage, prompt: SoftPrompt, row: Any, role: str) -> list[dict[str, Any]]:
    from dpc.lm.layout import layout_of
    from dpc.lm.saliency import measuring as saliency
    from dpc.lm.saliency.recorder import Request

    row = row.copy()
    row["question_ids"] = lm.encode(row["prompt_text"])
    batch = lay_out(lm, settings, prompt, [row])
    layers = tuple(range(layer, layer + 1) for layer in range(lm.model.config.num_hidden_layers))
    order = layout_of(lm, settings.layout)
    request = Request(head_reduce=settings.saliency.head_reduce, full=layers)
    start = loss_start(lm, settings, batch.rationale_ids[0])
    reduced = saliency.measure(lm, order, batch, prompt.vectors, [(0, 0)], [start], request)
    about = {
        "problem_id": row["problem_id"],
        "role": role,
        "size": batch.embeds_BSD.shape[1],
        "vectors": prompt.vectors,
        "question_tokens": batch.question_tokens[0],
        "prompt_start": order.prompt_start(),
        "tokens": _labels(lm, settings.layout, prompt.vectors, [*row["question_ids"], *row["token_ids"]]),
    }
    return [
        {**about, "layer": layer, "saliency": full_BSS[0].float().cpu().reshape(-1).numpy()}
        for layer, full_BSS in enumerate(reduced.full_BSS)
    ]


def _labels(lm: Any, layout: str, vectors: int, token_ids: list[Any]) -> list[str]:
    """Return what each column shows: BOS, p0, p1 and so on, then the tokens' text."""
    head = [f"p{j}" for j in range(vectors)]
    if lm.bos_id is not None:
        head.insert(0 if layout == "bos_first" else vectors, "BOS")
    return [*head, *(lm.decode([int(token)]) for token in token_ids)]

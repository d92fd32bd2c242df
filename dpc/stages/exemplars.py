"""Keep full saliency maps of one right and one wrong instance, for the figure that shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dpc import tables
from dpc.analysis.flow import layer_range
from dpc.settings import Execution
from dpc.stage_settings import ExtractExemplarsStage
from dpc.stages.common import provenance
from dpc.stages.extract_saliency import joined, lay_out
from dpc.tasks.base import hash_order


def run(
    settings: ExtractExemplarsStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    generations: list[Path],
    instances: Path,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `exemplars`: of the S_IFP instances the right and the wrong one of nearly median length."""
    from dpc.lm import models, soft_prompt

    lm = models.load(model, settings.dtype, execution)
    prompt_ND = soft_prompt.load(prompt, lm)
    rows = joined(questions, generations).set_index("problem_id", drop=False)
    found = []
    for role, problem_id in choose(tables.read(instances, "instances")).items():
        found += _maps(lm, settings, prompt_ND, rows.loc[problem_id], role)
    table = pd.DataFrame(found, columns=list(tables.SCHEMAS["exemplars"]))
    tables.write(out, "exemplars", table, provenance("exemplars", settings, device=str(lm.device)))


def choose(instances: pd.DataFrame) -> dict[str, str]:
    """Return a right and a wrong instance whose rationale is nearest the median length; ties by hash of the id."""
    chosen = {}
    for role, correct in (("right", True), ("wrong", False)):
        group = instances[instances["in_separation"] & (instances["correct"] == correct)]
        if group.empty:
            continue
        distance = (group["rationale_tokens"] - group["rationale_tokens"].median()).abs()
        nearest = group.loc[distance == distance.min(), "problem_id"]
        chosen[role] = min(nearest, key=hash_order)
    return chosen


def _maps(lm: Any, settings: ExtractExemplarsStage, prompt_ND: Any, row: Any, role: str) -> list[dict[str, Any]]:
    from dpc.lm import saliency
    from dpc.lm.layout import layout_of

    row = row.copy()
    row["question_ids"] = lm.encode(row["prompt_text"])
    batch = lay_out(lm, settings, prompt_ND, [row])
    layers = lm.model.config.num_hidden_layers
    bands = {
        "shallow": layer_range(settings.flow.shallow_layers, layers),
        "deep": layer_range(settings.flow.deep_layers, layers),
    }
    request = saliency.Request(settings.saliency.head_reduce, full=tuple(bands.values()))
    order = layout_of(lm, settings.layout)
    reduced = saliency.measure(lm, order, batch, len(prompt_ND), [(0, 0)], [0], request)
    words = [lm.decode([int(token)]) for token in (*row["question_ids"], *row["token_ids"])]
    head = [f"p{j}" for j in range(len(prompt_ND))]
    if lm.bos_id is not None:
        head.insert(0 if order.order == "bos_first" else len(head), "BOS")
    return [
        {
            "problem_id": row["problem_id"],
            "role": role,
            "layer_band": name,
            "first_layer": band[0],
            "last_layer": band[-1],
            "size": full_BSS.shape[1],
            "vectors": len(prompt_ND),
            "question_tokens": batch.question_tokens[0],
            "prompt_start": order.prompt_start(),
            "tokens": [*head, *words],
            "saliency": full_BSS[0].float().cpu().reshape(-1).numpy(),
        }
        for (name, band), full_BSS in zip(bands.items(), reduced.full_BSS, strict=True)
    ]

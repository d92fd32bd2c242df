"""Write the explorer of one cell: a page that shows every case, from tables alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.readings import baseline
from dpc.config.layers import layer_range
from dpc.config.slices import ExplorerStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log, progress
from dpc.plans.declaration import label
from dpc.report.explorer import cases, causal_values, choosing, codes, page
from dpc.report.explorer.pieces import nearest
from dpc.storage import tables, tokenizer_files
from dpc.storage.files import atomic
from dpc.storage.tables import number

STAGE = stage(version=3)
_ANSWER = ["problem_id", "edit_id", "token_ids"]


def run(
    settings: ExplorerStage,
    *,
    model: Path,
    prompt: Path,
    saliency: list[Path],
    flow: Path,
    evidence: Path,
    thresholds: Path,
    outcomes: Path,
    causal: Path,
    plans: list[Path],
    unprompted: list[Path],
    generations: list[Path],
    act: list[Path],
    options: list[Path],
    regenerations: list[Path],
    out: Path,
) -> None:
    """Write the page `out`.

    The tokenizer in `model` has the words of token ids, its embedding the words next to the vectors of the adapter
    whose weights are `prompt`. Raises DpcError if an answer is missing.
    """
    tokenizer = tokenizer_files.words(model)
    facts = tables.read(evidence, "evidence").query("split == 'test'")
    given = tables.read([*unprompted, *generations, *act, *options], "generations", _ANSWER)
    made = [given, tables.read(regenerations, "regenerations", _ANSWER)]
    known = cases.answers(tables.read(outcomes, "outcomes"), tables.read(plans, "plans"), made)
    caused = causal_values.of_questions(tables.read(causal, "causal"))
    fitted, problems = tables.read(thresholds, "thresholds").iloc[0], cases.order(facts, known, caused)
    kept = problems[: settings.explorer.cases]
    numbers = _numbers(settings, saliency, flow, kept, fitted)
    texts = cases.texts(kept, facts, known, tokenizer)
    words = nearest(tokenizer, model, prompt.parent)
    data = {
        "about": _about(settings, flow, fitted) | {"plans": [[p, label(p)] for p in known.plans], "words": words},
        "cell": cases.verdicts(facts, known, problems, caused),
        "texts": page.packed_texts([{**one, "causes": caused.get(one["id"])} for one in texts]),
        "numbers": [numbers[problem] for problem in kept],
    }
    parts = (settings.model, settings.dataset, settings.recipe, f"seed {settings.seed}", settings.study)
    text = page.html(" · ".join(map(str, parts)), data)
    with atomic(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    log.info("%d of %d test questions, %.2f MB", len(kept), len(problems), len(text.encode()) / 1e6)


def _numbers(
    settings: ExplorerStage, saliency: list[Path], flow: Path, kept: list[str], fitted: pd.Series
) -> dict[str, cases.Case]:
    """Return the numbers of each kept case, going through saliency once."""
    wanted, usual = set(kept), baseline.of_row(fitted)
    flows = {row.problem_id: row for row in tables.scan(flow, "flow") if row.problem_id in wanted}
    found = dict[str, cases.Case]()
    with progress(len(kept), "explorer", "case") as bar:
        for row in tables.scan(saliency, "saliency"):
            if row.problem_id in wanted:
                found[row.problem_id] = cases.numbers(row, flows[row.problem_id], settings.trigger, usual)
                bar.add(1)
    return found


def _about(settings: ExplorerStage, flow: Path, fitted: pd.Series) -> dict[str, Any]:
    """Return what the page says of the cell, and what decodes its numbers."""
    size = tables.read(flow, "flow", ["layers", "vectors"]).iloc[0]
    layers = int(size["layers"])
    bands = {
        "shallow": settings.flow.shallow_layers,
        "deep": settings.flow.deep_layers,
        "band": settings.saliency.band,
    }
    ranges = {name: layer_range(spec, layers) for name, spec in bands.items()}
    trigger = settings.trigger
    return {
        "study": settings.study,
        "model": settings.model,
        "dataset": settings.dataset,
        "recipe": settings.recipe,
        "seed": settings.seed,
        "layers": layers,
        "vectors": int(size["vectors"]),
        **{name: [one.start, one.stop - 1] for name, one in ranges.items()},
        "kappa": trigger.kappa,
        "baseline": trigger.baseline,
        "granularity": trigger.granularity,
        "min_tokens": trigger.min_tokens,
        "share": number(fitted["share"]),
        "rule": choosing.RULE,
        "fires_by": trigger.rule,
        "sections": list(codes.SECTIONS.items()),
        "per_decade": codes.PER_DECADE,
        "contributors": min(cases.CONTRIBUTORS, int(size["vectors"])),
    }

"""Three small studies as tables: like the embedded one, one in which DPC never fires, one in which ACT has no head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dpc.analysis.studies.outcomes import evaluate
from dpc.config.settings import Statistics
from dpc.config.slices import TablesStage
from dpc.plans.declaration import ONE_PASS
from dpc.report.cells import Tables
from dpc.storage import tables
from tests.support.report_samples import evidence_rows, interpretability_rows, outcome, settings, table, threshold_rows

SEEDS, QUESTIONS = (0, 1, 2), 32
PLANS = ("no_prompt", "prompt_tuning", "act", "dpc", "always", "random_trigger", "random_token", "identity")
"""Without `random_corruption` and `projected`: claims f4 and i1 are not run, nor are the interventions of j1 to j5."""


@dataclass(frozen=True)
class Study:
    """What happened in a study of one cell and three seeds."""

    dpc: tuple[int, ...]
    """Seeds under which DPC fires."""
    act: tuple[int, ...]
    """Seeds with a confirmed head."""
    right_cases: tuple[int, ...] = (50, 50, 50)
    """By seed; 30 are needed."""
    cut: int = 0
    """Answers without a prompt that are cut short, of every seed."""
    is_formless: bool = False
    """Whether answers without a prompt are never in the form asked for."""


STUDIES = {
    "embedded": Study(dpc=(1, 2), act=SEEDS),
    "never_fires": Study(dpc=(), act=(0, 2), cut=10, is_formless=True),
    "not_confirmed": Study(dpc=SEEDS, act=(), right_cases=(4, 4, 4)),
    "few_cases": Study(dpc=SEEDS, act=(1,), right_cases=(4, 50, 50)),
}


def outcomes(study: Study, seed: int) -> pd.DataFrame:
    """Return table `outcomes` of a seed; every third question fires where DPC does."""
    draw, rows = np.random.default_rng(seed), list[dict[str, Any]]()
    for number in range(QUESTIONS):
        base = bool(draw.random() < 0.5)
        fires = {"no_prompt": True, "always": True, "act": seed in study.act, "identity": number < 8}
        fires |= dict.fromkeys(("dpc", "random_trigger", "random_token"), seed in study.dpc and number % 3 == 0)
        for plan in PLANS:
            fired = fires.get(plan, False)
            text = f"{plan if fired and plan != 'identity' else 'prompt_tuning'} {number}"
            right = bool(draw.random() < 0.5) if fired and plan != "identity" else base
            rows.append(outcome(number, plan, right, fired, False, text))
    table = pd.DataFrame(rows)
    alone = table["plan"] == "no_prompt"
    table["correct_lenient"] = table["correct"]
    table.loc[alone, "stop_reason"] = ["length"] * study.cut + ["end"] * (QUESTIONS - study.cut)
    if study.is_formless:
        table.loc[alone, "correct_lenient"] = np.arange(QUESTIONS) < 24
        table.loc[alone, ["correct", "extracted"]] = [False, None]
    return table


def evidence(study: Study, seed: int) -> pd.DataFrame:
    rows = evidence_rows(np.random.default_rng(seed), right=40, wrong=40)
    rows[["accumulation_beyond_zero", "concentration", "band_log_ratio"]] = 0.5
    rows["s_ifp"] = rows["s_ifp"].fillna(0.3)
    if study.right_cases[seed] < 30:
        rows[["accumulated", "flow_changed"]] = None
    return rows


def mechanism(rows: pd.DataFrame) -> pd.DataFrame:
    own = rows[rows["plan"] == "dpc"].assign(edit_id="e", correct_before=True, correct_after=True)
    own[["flow_latter_before", "s_ifp_before", "nll_before"]] = 1.0
    own[["flow_latter_after", "s_ifp_after", "nll_after"]] = 0.5
    return own[list(tables.SCHEMAS["mechanism"])]


def made(study: Study, folder: Path) -> tuple[Tables, dict[str, pd.DataFrame]]:
    """Write the tables of a study; return them as the report reads them, and as frames with all seeds."""
    files, frames = list[Path](), dict[str, list[pd.DataFrame]]()
    for seed in SEEDS:
        answers = outcomes(study, seed)
        summary = evaluate(answers, Statistics(), ONE_PASS).assign(ineligible=0, memory_gb=1.0, unchanged=False)
        made = {
            "outcomes": answers,
            "evaluation": summary,
            "evidence": evidence(study, seed),
            "mechanism": mechanism(answers),
            "causal": tables.empty("causal"),
            "thresholds": threshold_rows(0.3 if seed in study.dpc else None, study.right_cases[seed]),
            "interpretability": interpretability_rows(np.random.default_rng(seed)),
        }
        for name, rows in made.items():
            files.append(table(folder / f"{name}{seed}.parquet", name, rows))
            frames.setdefault(name, []).append(rows.assign(seed=seed))
    return Tables(files, settings(TablesStage, plans=list(PLANS))), {name: pd.concat(f) for name, f in frames.items()}

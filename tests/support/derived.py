"""Tables that stages make from saliency and answers, made as they make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.readings.baseline import Baseline
from dpc.analysis.readings.flow import Instance, derive
from dpc.analysis.readings.reading import TokenFlow, affected_tokens, baseline_of, readings
from dpc.analysis.studies.outcomes import grade
from dpc.config.settings import Flow, Locate, Sample, Trigger
from dpc.config.slices import EvidenceStage
from dpc.pipeline.stages import gather_evidence
from dpc.storage import tables
from dpc.tasks import get_task
from tests.support.saliency_rows import gold_of


def flow_of(saliency: pd.DataFrame, made: pd.DataFrame, flow: Flow, locate: Locate) -> pd.DataFrame:
    """Table `flow`."""
    rows = list(derive(tables.rows(saliency), made, flow, locate))
    return pd.DataFrame(rows, columns=list(tables.SCHEMAS["flow"]))


def readings_of(
    saliency: pd.DataFrame,
    made: pd.DataFrame,
    flow: Flow,
    trigger: Trigger,
    locate: Locate,
    baseline: Baseline | None = None,
) -> pd.DataFrame:
    """Readings straight from saliency and generations."""
    return readings(tables.rows(flow_of(saliency, made, flow, locate)), trigger, locate, baseline)


def verdicts_of(made: pd.DataFrame, split: str | None = None, task: str = "gsm8k") -> pd.DataFrame:
    """Table `verdicts` on answers that are right where they are 1, of one split or of all."""
    own = made if split is None else made[made["split"] == split]
    return grade(own, gold_of(sorted(set(own["problem_id"]))), get_task(task)).assign(steps=2)


def affected_in(
    one: Instance, flow: Flow, trigger: Trigger, baseline: Baseline | None = None
) -> tuple[list[bool], float]:
    """Which tokens of an instance are affected, and their share."""
    found, share = affected_tokens(TokenFlow.of(one, flow), trigger, baseline)
    return found.tolist(), share


def usual_of(cases: list[Instance], flow: Flow, trigger: Trigger, least: int) -> Baseline | None:
    """The baseline of right cases."""
    return baseline_of([TokenFlow.of(one, flow) for one in cases], trigger, least)


def sampled(folder: Path, shared: dict[str, Any], locate: Locate, sample: Sample) -> pd.DataFrame:
    """What the evidence marks as the study's sample, under the limits that `run_study` found in `folder`.

    `shared` are the flags `flow` and `base` of both stages.
    """
    limits = tables.provenance(folder / "findings.parquet")["limits"]
    fitted = dict.fromkeys(tables.SCHEMAS["thresholds"]) | {
        "accumulation_z_limit": limits["accumulation_z"], "s_ifp_limit": limits["flow_change"], "static_vector": -1,
        "right_cases": limits["right_cases"], "note": limits["note"], "net": 0, "calibration_questions": 1,
    }  # fmt: skip
    tables.write(folder / "thresholds", "thresholds", pd.DataFrame([fitted]), {})
    settings = EvidenceStage(trigger=Trigger(), locate=locate, sample=sample)
    paths = {"thresholds": folder / "thresholds", "unprompted": shared["base"], "out": folder / "evidence"}
    gather_evidence.run(settings, **shared, **paths)
    evidence = tables.read(folder / "evidence", "evidence")
    return evidence[evidence["in_correlation"] | evidence["in_separation"]]

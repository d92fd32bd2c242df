"""What each plan does about each question: the trigger is measured for all, a vector is located only where it fires.

Saliency for use, not for study: the trigger reads deep layers and rationale rows, so the graph begins at the first deep
layer and at the rationale; shallow layers, and question rows where they receive, are measured only for questions on
which a plan fires. Readings, plans and limits are the study's own functions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import pandas as pd

from dpc.analysis.readings.flow import derive
from dpc.config.messages import did_you_mean
from dpc.config.slices import ReadFlowStage
from dpc.errors import DpcError
from dpc.pipeline.answering.cell import Cell
from dpc.pipeline.progress import log
from dpc.pipeline.stages.extract_saliency import Part
from dpc.pipeline.stages.plan import inputs_of
from dpc.plans.declaration import PLANS, TRIGGERED, of
from dpc.plans.registry import Inputs, make
from dpc.storage import tables

Measure = Callable[[Part, Collection[str]], pd.DataFrame]
"""From what is measured, of which questions, to rows of table `saliency`."""


@dataclass(frozen=True)
class Decided:
    """What the plans decided, and what they looked at."""

    plans: pd.DataFrame
    """Table `plans`."""
    readings: pd.DataFrame
    """`problem_id`, and `affected_share` where the trigger was measured."""


def check_plans(names: Collection[str], cell: Cell) -> None:
    """Raise DpcError for a plan that this cell cannot answer under."""
    for name in names:
        if name not in PLANS:
            raise DpcError(f"unknown plan {name!r}{did_you_mean(name, of('test'))}")
        if PLANS[name].is_oracle or name not in of("test"):
            why = "looks at gold" if PLANS[name].is_oracle else "serves to fit thresholds on calibration"
            raise DpcError(f"plan {name} {why}; expected plans of {', '.join(of('test'))}")
        if "act_heads" in PLANS[name].needs and cell.act_heads is None:
            raise DpcError(f"{cell.folder}: found no act/heads.parquet, which plan {name} needs; add it to study.plans")
        if PLANS[name].answers == "options":
            raise DpcError(f"plan {name} scores options, which a study alone does; leave it out of --plans")
        is_fitted = any(each.serves == name for each in of("calibration").values())
        if is_fitted and name not in cell.planning.plans:
            raise DpcError(f"plan {name} is fitted on calibration, which this cell did without; add it to study.plans")
        if PLANS[name].is_drawn:
            log.warning("plan %s draws its questions from those that are asked: others than in the study", name)


def trigger_part(told: ReadFlowStage) -> Part:
    """Return what the trigger reads: the flow to the rationale's tokens in deep layers."""
    return Part("trigger", told.flow.deep_layers, "rationale")


def location_part(told: ReadFlowStage) -> Part:
    """Return what locating reads: the prompt's columns in shallow layers, over the rows that receive."""
    all_rows = told.locate.receivers == "question_and_rationale"
    return Part("location", told.flow.shallow_layers, "all" if all_rows else "rationale")


def asks_trigger(names: Collection[str]) -> bool:
    """Say whether one of the plans asks whether DPC's trigger fires, or measures what it does."""
    return not TRIGGERED.isdisjoint(names) and any(PLANS[name].passes > 1 for name in names)


def decide(cell: Cell, names: list[str], asked: pd.DataFrame, base: pd.DataFrame, measure: Measure) -> Decided:
    """Return what the plans `names` decide about the questions `asked`.

    `base` are prompt tuning's answers to them (table `generations`), where one of the plans looks at such.
    """
    needs = {need for name in names for need in PLANS[name].needs}
    if all(PLANS[name].passes == 1 for name in names):
        readings = asked[["problem_id"]]
        inputs = replace(inputs_of(cell.planning, [], cell.thresholds, cell.act_heads), readings=readings)
        return Decided(make(names, "test", inputs), readings.assign(affected_share=None))
    everyone = frozenset(asked["problem_id"])
    if not asks_trigger(names):
        inputs = _inputs(cell, _flow(cell, measure(location_part(cell.flow), everyone), base))
        return Decided(make(names, "test", inputs), inputs.readings.assign(affected_share=None))
    flow = _flow(cell, measure(trigger_part(cell.flow), everyone), base)
    if chosen := _to_locate(names, needs, _inputs(cell, flow)):
        flow = _with_location(flow, _flow(cell, measure(location_part(cell.flow), chosen), base))
    inputs = _inputs(cell, flow)
    return Decided(make(names, "test", inputs), inputs.readings)


def _flow(cell: Cell, saliency: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Return table `flow` of these rows of saliency."""
    made = base[base["problem_id"].isin(saliency["problem_id"])]
    return pd.DataFrame(derive(tables.rows(saliency), made, cell.flow.flow, cell.flow.locate))


def _inputs(cell: Cell, flow: pd.DataFrame) -> Inputs:
    return inputs_of(cell.planning, tables.rows(flow), cell.thresholds, cell.act_heads)


def _to_locate(names: list[str], needs: Collection[str], inputs: Inputs) -> frozenset[str]:
    """Return the questions that a plan that looks at the first rationale fires on, by the share alone.

    Where accumulation decides as well (D15), that is known only behind locating, for what DPC itself fires on too.
    """
    assert inputs.trigger is not None
    decisive = ["dpc"] if "accumulation_z" in needs else []
    by_share = replace(inputs, trigger=inputs.trigger.model_copy(update={"rule": "share"}))
    looking = {*decisive, *(name for name in names if PLANS[name].passes > 1)}
    planned = make(sorted(looking), "test", by_share)
    return frozenset(planned.loc[planned["fired"], "problem_id"])


def _with_location(flow: pd.DataFrame, located: pd.DataFrame) -> pd.DataFrame:
    """Return `flow` with what `located` says of each vector."""
    found = located.set_index("problem_id")
    where = flow["problem_id"].isin(found.index)
    flow = flow.astype({"column_saliency": object, "band": object})
    for column in ("column_saliency", "band"):
        flow.loc[where, column] = flow.loc[where, "problem_id"].map(found[column])
    return flow

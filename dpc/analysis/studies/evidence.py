"""Each question with its readings, and whether it was right, with and without the prompt.

One row per question is the ground of the two analyses, trigger quality, confounds and claims; table `evidence`.
"""

from __future__ import annotations

import pandas as pd

from dpc.analysis.studies.correlation import mark_significant, sample_instances
from dpc.analysis.studies.limits import Limits
from dpc.analysis.studies.outcomes import per_problem
from dpc.config.settings import Sample
from dpc.storage import tables

SAMPLES = ("in_correlation", "in_separation")


def with_verdicts(readings: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Add `correct` and `steps` from the verdicts on prompt tuning's answers."""
    ids = readings["problem_id"]
    return readings.assign(**{name: per_problem(ids, base, name, "verdicts") for name in ("correct", "steps")})


def sampled(readings: pd.DataFrame, sample: Sample) -> pd.DataFrame:
    """Return the test questions that the two analyses use, marked as `SAMPLES` (D30); `readings` has `correct`."""
    return sample_instances(readings[readings["split"] == "test"], sample)


def gather(
    readings: pd.DataFrame, unprompted: pd.DataFrame, fired: pd.Series, limits: Limits, sample: Sample
) -> pd.DataFrame:
    """Return table `evidence`: `readings` come from `with_verdicts`, `fired` is by row of them.

    `unprompted` are the verdicts on answers without a prompt.
    """
    table = mark_significant(readings, limits)
    chosen = sampled(readings, sample)
    marks = {name: table["problem_id"].isin(chosen.loc[chosen[name], "problem_id"]) for name in SAMPLES}
    alone = per_problem(table["problem_id"], unprompted, "correct_lenient", "verdicts")
    return table.assign(**marks, fired=fired, correct_unprompted=alone)[list(tables.SCHEMAS["evidence"])]

"""`snakemake took`: hours and memory of every rule of a study, beside what was estimated and asked for.

From the lines that each attempt of a job leaves beside its log (`dpc/storage/attempts.py`). A resumed job counts with
all its attempts.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dpc.config.settings import Config, load_config
from dpc.errors import DpcError
from dpc.pipeline import cost, cpu_cost, estimate
from dpc.storage import attempts
from dpc.storage.attempts import Attempt


def table(config: Config) -> pd.DataFrame:
    """Return a row per rule: jobs, attempts, hours, hours of CPU, estimated hours, peak memory, memory asked for.

    Memory is of one job: the largest peak, and what a first attempt asks for (GB). Rules without a rate in
    `cluster.rates` have no estimate. Raises DpcError where no job has run.
    """
    found = attempts.read(Path(config.study.results) / "logs")
    if not found:
        raise DpcError(f"{config.study.results}: found no job that ran; run the study first")
    estimated = estimate.lines(config)
    return pd.DataFrame(
        {
            "rule": rule,
            **_took(jobs),
            "estimated_hours": estimated[rule].hours if rule in estimated else None,
            "asked_gb": asked_gb(config, rule, len(jobs)),
        }
        for rule, jobs in found.items()
    )


def _took(jobs: Sequence[Sequence[Attempt]]) -> dict[str, float]:
    each = [attempt for job in jobs for attempt in job]
    return {
        "jobs": len(jobs),
        "attempts": len(each),
        "hours": sum(attempt.seconds for attempt in each) / 3600,
        "cpu_hours": sum(attempt.cpu_seconds for attempt in each) / 3600,
        "peak_gb": max(attempt.peak_gb for attempt in each),
    }


def asked_gb(config: Config, rule: str, jobs: int) -> float | None:
    """Return the memory that each of `jobs` jobs asks for at first, for the smallest model; None for a local rule."""
    if rule in cost.RATES:
        return min(cost.memory_mb(config, config.models[name]) for name in config.study.models) / 1000
    if rule not in cpu_cost.NEEDS:
        return None
    cells = [cost.Place(*cell[:3]) for cell in cost.cells(config) for _ in range(cell[3])]
    return cpu_cost.memory_mb(config, rule, cells[: max(1, len(cells) // jobs)]) / 1000


def rates(config: Config, rows: pd.DataFrame) -> dict[str, float]:
    """Return the rates that the hours of a `table` came to, as in `cluster.rates`, by all rules that go by each.

    Of a rule whose jobs have not all run, the share of its tokens that the jobs had counts.
    """
    lines = estimate.lines(config)
    rows = rows[rows.rule.isin(lines)]
    share = (rows.jobs / rows.rule.map(lambda rule: lines[rule].jobs)).clip(upper=1)
    work = share * rows.rule.map(lambda rule: lines[rule].job_hours * cost.rate(config, rule))
    sums = pd.DataFrame({"work": work, "hours": rows.hours}).groupby(rows.rule.map(cost.RATES)).sum()
    return {str(key): work / hours for key, work, hours in sums.itertuples() if hours}


def text(config: Config) -> str:
    """Return the table to print, its sums, and the rates it came to."""
    rows = table(config)
    shown = rows.to_string(index=False, na_rep="-", float_format=lambda number: f"{number:.2f}")
    sums = f"{rows.hours.sum():.1f} hours in all, {rows.cpu_hours.sum():.1f} hours of CPU"
    came = ", ".join(f"{key}: {rate:.3g}" for key, rate in rates(config, rows).items())
    advice = f"to estimate by what it took: cluster: {{{cost.rates_key(config)}: {{{came}}}}}"
    return "\n".join([shown, sums, *([advice] if came else [])])


if __name__ == "__main__":
    try:
        print(text(load_config(json.loads(os.environ["DPC_CONFIG"]))))
    except DpcError as error:
        sys.exit(f"error: {error}")

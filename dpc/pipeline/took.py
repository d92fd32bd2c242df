"""`snakemake took`: hours and memory of every rule of a study, beside what was estimated and asked for.

From the lines that each attempt of a job leaves beside its log (`dpc/storage/attempts.py`). A resumed job counts with
all its attempts. One that was made more than once counts with the longest of these: what was there already may have
shortened the others.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dpc.config.settings import Config, load_config
from dpc.errors import DpcError
from dpc.pipeline import cost, cpu_cost, estimate
from dpc.storage import attempts
from dpc.storage.attempts import Attempt

_SEED = re.compile(r"(\.seed\d+)(\..*)?$")
"""Where the name of a job's log names a seed, and what comes behind it."""


def table(config: Config) -> pd.DataFrame:
    """Return a row per rule: jobs, attempts, hours, hours of CPU, estimated hours, peak memory, memory asked for.

    Hours are of jobs, however many cards each has. Memory is of one job: the largest peak, and what a first attempt
    asks for (GB). Rules without a rate in `cluster.rates` have no estimate. Raises DpcError where no job has run.
    """
    found = _of_study(config)
    if not found:
        raise DpcError(f"{config.study.results}: found no job that ran; run the study first")
    estimated = estimate.lines(config)
    return pd.DataFrame(
        {
            "rule": rule,
            **_took(list(jobs.values())),
            "estimated_hours": estimated[rule].job_hours if rule in estimated else None,
            "asked_gb": asked_gb(config, rule, len(jobs)),
        }
        for rule, jobs in found.items()
    )


def _of_study(config: Config) -> dict[str, dict[str, list[Attempt]]]:
    """Return the attempts of the jobs that the configuration has: a folder may hold other recipes and seeds, too."""
    cells = {f"{model}.{dataset}.{recipe}" for model, dataset, recipe, _ in cost.cells(config)}
    own = {f"{cell}.seed{seed}" for cell in cells for seed in config.study.prompt_seeds}

    def is_own(name: str) -> bool:
        return not _SEED.search(name) or _SEED.sub(r"\1", name) in own

    read = attempts.read(Path(config.study.results) / "logs")
    kept = {rule: {name: _longest(each) for name, each in jobs.items() if is_own(name)} for rule, jobs in read.items()}
    return {rule: jobs for rule, jobs in kept.items() if jobs}


def _longest(each: Sequence[Attempt]) -> list[Attempt]:
    """Return the attempts that made the job once, those of which took longest."""
    ends = [0, *(number for number, attempt in enumerate(each, start=1) if attempt.finished), len(each)]
    makings = [list(each[begin:end]) for begin, end in itertools.pairwise(ends)]
    return max(makings, key=lambda making: sum(attempt.seconds for attempt in making))


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


def rates(config: Config) -> dict[str, float]:
    """Return the rates that the jobs which came to their end went at, as in `cluster.rates`, by all rules of each."""
    found, work, seconds = _of_study(config), defaultdict[str, float](float), defaultdict[str, float](float)
    for rule, place, seeds in cost.grid(config):
        expected = cost.hours(config, rule, place, cost.FIRED) * cost.rate(config, rule)
        for seed in config.study.prompt_seeds[:seeds]:
            for name, each in found.get(rule, {}).items():
                job = re.fullmatch(re.escape(_stem(place, seed)) + r"(?:\.\d+-of-(\d+))?", name)
                if job and each[-1].finished:
                    work[cost.RATES[rule]] += expected / int(job[1] or 1)
                    seconds[cost.RATES[rule]] += sum(attempt.seconds for attempt in each)
    return {key: 3600 * work[key] / seconds[key] for key in work if seconds[key]}


def _stem(place: cost.Place, seed: int) -> str:
    """Return how the name of a job's log begins there, without its shard."""
    parts = (place.model, place.dataset, place.recipe, place.recipe and f"seed{seed}", place.part)
    return ".".join(filter(None, parts))


def text(config: Config) -> str:
    """Return the table to print, its sums, and the rates it came to."""
    rows = table(config)
    shown = rows.to_string(index=False, na_rep="-", float_format=lambda number: f"{number:.2f}")
    sums = f"{rows.hours.sum():.1f} hours in all, {rows.cpu_hours.sum():.1f} hours of CPU"
    came = ", ".join(f"{key}: {rate:.3g}" for key, rate in rates(config).items())
    advice = f"to estimate by what it took: cluster: {{{cost.rates_key(config)}: {{{came}}}}}"
    return "\n".join([shown, sums, *([advice] if came else [])])


if __name__ == "__main__":
    try:
        print(text(load_config(json.loads(os.environ["DPC_CONFIG"]))))
    except DpcError as error:
        sys.exit(f"error: {error}")

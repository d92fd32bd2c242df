"""What a study can show, said before it runs: seeds, gains it could detect, calibration, rationales that will be cut.

`check` says all of it, `estimate` what follows from the settings alone. Nothing here refuses.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from dpc.config.settings import Config
from dpc.pipeline import cost
from dpc.pipeline.check_models import folder_of
from dpc.pipeline.lengths import Rows, counter, files_of, used
from dpc.tasks.dataset import Cut

SEEDS = 3
"""Fewer say too little about the spread over prompts."""
MEASURED = 300
"""Gold rationales of a dataset whose tokens are counted, the first by hash."""
BARE = 0.5
"""Share of rationales without a step from which it is said what prompts are tuned to."""


def of_settings(config: Config) -> list[str]:
    """Return a line for each thing that settings alone say about what the study can show."""
    return [*_seeds(config), *_gains(config), *_calibration(config), *_card(config)]


def of_rows(config: Config, read: Mapping[str, Rows]) -> list[str]:
    """Return a line for each thing that the rows which are here say, by dataset."""
    found = []
    for name, rows in read.items():
        found += [_used(config, name, rows), *_bare(config, name, rows.splits), *_cut_off(config, name, rows.splits)]
    return found


def _seeds(config: Config) -> Iterator[str]:
    seeds = len(config.study.prompt_seeds)
    if seeds == 1:
        yield (
            "1 prompt seed: no claim can be supported, as nothing is known of the spread over prompts; "
            f"write {SEEDS} in study.prompt_seeds"
        )
    elif seeds < SEEDS:
        yield f"{seeds} prompt seeds: intervals over prompts will be very wide; write {SEEDS} in study.prompt_seeds"


def _gains(config: Config) -> Iterator[str]:
    """Say how small a gain may be, by the rule of the claims table."""
    from dpc.analysis.stats.power import PLANNED_CHANGE, POWER, planned_detectable  # numpy: not with the Snakefile

    study, level = config.study, config.statistics.confidence
    cells = len(study.models) * len(study.datasets) * len(study.recipes)
    for name in study.datasets:
        count = cost.test_rows(config.datasets[name])
        least = planned_detectable(count, len(study.prompt_seeds), cells, level)
        if not math.isnan(least):
            yield (
                f"{name}: {count:,} test questions x {len(study.prompt_seeds)} prompt seeds show a gain from "
                f"{100 * least:.1f} points on (found in {POWER:.0%} of such studies, where {PLANNED_CHANGE:.0%} of the "
                "answers change)"
            )


def _calibration(config: Config) -> Iterator[str]:
    least = config.significance.min_cases
    for name in config.study.datasets:
        count = config.datasets[name].splits.calibration
        if count < least:
            yield (
                f"{name}: {count} calibration questions, and limits of significance need {least} right ones: they will "
                f"not be estimable; raise datasets.{name}.splits.calibration, or lower significance.min_cases"
            )
        elif least > count / 4:
            yield (
                f"{name}: limits of significance need {least} right answers of {count} calibration questions "
                f"({least / count:.0%}); with fewer they are not estimable: raise datasets.{name}.splits.calibration"
            )


def _card(config: Config) -> Iterator[str]:
    if config.execution.device == "cuda" and not _has_card():
        yield (
            "execution.device is cuda, and this machine has no NVIDIA card: right on the login node of a cluster, else "
            "write execution.device: cpu"
        )


def _has_card() -> bool:
    """Whether the driver of an NVIDIA card is loaded; the question is asked without torch, which takes seconds."""
    return Path("/proc/driver/nvidia/version").is_file() or shutil.which("nvidia-smi") is not None


def _used(config: Config, name: str, rows: Rows) -> str:
    """Say what becomes of all rows: how many are in a split, what was dropped, which splits are short."""
    read = sum(cost.counted_rows(file) for files in files_of(name, config.datasets[name]) for file in files)
    cut = sum(map(len, rows.splits.values()))
    return "; ".join([f"{name}: {read:,} rows, {cut:,} of them in a split", *rows.notes])


def _bare(config: Config, name: str, splits: Cut) -> Iterator[str]:
    """Say that gold is answers alone, where prompts are tuned on it."""
    rows = [row for split in {"tuning", "validation"} & set(used(config)) for row in splits[split]]
    bare = sum(row.problem.steps == 0 for row in rows)
    if rows and bare >= BARE * len(rows):
        yield (
            f"{name}: {bare:,} of {len(rows):,} gold rationales are an answer without a step: prompts tuned on them "
            "learn to answer without reasoning; an adapter, or rows with worked answers, do not"
        )


def _cut_off(config: Config, name: str, splits: Cut) -> Iterator[str]:
    """Say how many gold rationales are longer than an answer may be, by every tokenizer that is here."""
    longest = config.datasets[name].max_new_tokens
    rows = [row for split in ("calibration", "test") for row in splits[split][:MEASURED]]
    for model in config.study.models:
        folder = folder_of(config, model)
        if folder is None:
            continue
        count = counter(folder)
        lengths = sorted(count(row.problem.rationale) + 1 for row in rows)
        over = sum(length > longest for length in lengths)
        if over:
            yield (
                f"{name}: {over} of {len(rows)} gold rationales are longer than max_new_tokens, {longest}, in tokens "
                f"of {model}: such answers are cut and count as wrong; the longest has {lengths[-1]}, 95 % at most "
                f"{lengths[math.ceil(0.95 * len(lengths)) - 1]}"
            )

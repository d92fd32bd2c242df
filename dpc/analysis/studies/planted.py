"""What planted harm says: is the harmful vector located, does masking it restore, does the trigger fire.

A cell is one prompt with harm planted at one position. Positions of a prompt have much in common, so a prompt counts
once, with its mean over positions: values are means over prompts, intervals are Student's over them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from dpc.analysis.stats.pooled import rank_correlation
from dpc.analysis.stats.statistics import mean_interval
from dpc.analysis.studies.limits import choose_share, threshold_curve
from dpc.config.settings import Trigger
from dpc.plans.triggers import fires
from dpc.storage import tables
from dpc.storage.columns import PLANTED_MEASURES
from dpc.storage.hashing import hash_order

RATIOS = ("restored_true", "restored_located", "harm_gone", "harm_gone_late")
BOUNDS = dict.fromkeys(RATIOS, (-math.inf, math.inf)) | {"dose_rank": (-1.0, 1.0)}
"""Least and most of what is no share."""
NATURAL = -1
"""Position of a prompt as it was tuned."""


def summary(
    rows: pd.DataFrame, causal: pd.DataFrame, default: str, trigger: Trigger, confidence: float
) -> pd.DataFrame:
    """Return one row per kind of prompt, part and rule of locating; columns as in table `validation`.

    `rows` are tables `planted` of several prompts, with columns `part` (choosing or held_out), `is_planted` (the recipe
    that harm is planted in) and `seed`; `causal` are tables `planted_causal` with the same columns. R is fitted in each
    cell on calibration rows, with the mask of rule `default` (D31), or fixed (D10); all else is of the test rows, or
    where a part has none of the calibration rows. A part whose prompts can spare no vector has no row.
    """
    found = []
    for (part, is_planted), group in rows.groupby(["part", "is_planted"], sort=False):
        cells = (
            _planted_cells(group, causal, default, trigger) if is_planted else _natural_cells(group, default, trigger)
        )
        for rule, here in cells.groupby("rule", sort=False):
            about = {"part": part, "kind": "planted" if is_planted else "natural", "rule": rule}
            found.append({**about, "is_default": rule == default, **_over_prompts(here, confidence)})
    columns = [name for name in tables.SCHEMAS["validation"] if name not in ("model", "dataset", "recipe")]
    return pd.DataFrame(found, columns=columns).astype({"is_default": bool})


def _over_prompts(cells: pd.DataFrame, confidence: float) -> dict[str, Any]:
    values: dict[str, Any] = {
        "prompts": cells["seed"].nunique(),
        "cells": len(cells),
        "questions": int(cells["questions"].sum()),
        "chance": float((1 / cells["vectors"]).mean()),
    }
    by_prompt = cells.groupby("seed")[list(PLANTED_MEASURES)].mean()
    for name in PLANTED_MEASURES:
        estimate = mean_interval(by_prompt[name], confidence)
        least, most = BOUNDS.get(name, (0.0, 1.0))  # a share does not leave them, whatever its interval
        low, high = np.clip([estimate.low, estimate.high], least, most).tolist()
        values |= {name: estimate.value, f"{name}_low": low, f"{name}_high": high}
    return values


def _planted_cells(group: pd.DataFrame, causal: pd.DataFrame, default: str, trigger: Trigger) -> pd.DataFrame:
    """Return one row per cell and rule."""
    cells = []
    for (seed, position), cell in group[group["position"] != NATURAL].groupby(["seed", "position"]):
        tried = interventions(
            causal[(causal["seed"] == seed) & causal["is_planted"]], int(str(position)), _judged(cell)
        )
        natural = _judged(group[(group["seed"] == cell["seed"].iloc[0]) & (group["position"] == NATURAL)])
        fired = _fires(cell, default, trigger)
        for rule, here in _judged(cell).groupby("rule", sort=False):
            row = _measures(here, fired)
            hit, harmed = here["located"] == position, here["clean_correct"] & ~here["planted_correct"]
            at_rest = natural[natural["rule"] == rule]
            true = float(here["true_correct"].astype(float).mean())
            restored = {"restored_true": _ratio(true, row["clean"])}
            restored["restored_located"] = _ratio(row["masked"], row["clean"])
            more = {
                "hit": hit.mean(),
                "hit_harmed": hit[harmed].mean(),
                "clean_hit": (at_rest["located"] == position).mean(),
            }
            drawn = _random_hit(at_rest, str(position))
            cells.append({**row, **more, **restored, **tried, "random_hit": drawn, "rule": rule})
    return pd.DataFrame(cells) if cells else pd.DataFrame({"rule": []})


def _natural_cells(group: pd.DataFrame, default: str, trigger: Trigger) -> pd.DataFrame:
    """Return one row per prompt and rule; what needs a known position is nan."""
    of_position = ("hit", "hit_harmed", "clean_hit", "random_hit", *RATIOS, "mask_first", "dose_rank")
    unknown = dict.fromkeys(of_position, math.nan)
    cells = []
    for _, cell in group.groupby("seed"):
        fired = _fires(cell, default, trigger)
        cells += [
            {**_measures(here, fired), **unknown, "rule": rule}
            for rule, here in _judged(cell).groupby("rule", sort=False)
        ]
    return pd.DataFrame(cells)


def interventions(causal: pd.DataFrame, position: int, judged: pd.DataFrame) -> dict[str, float]:
    """Return what interventions on one prompt say of the vector at `position`, where harm is planted.

    mask_first: masking it costs the most loss of all vectors, on the mean over questions. dose_rank: Spearman's
    correlation of the harm's dose (0: the vector that worked, 1: the harmful one) with accuracy. harm_gone: the share
    of the lost accuracy that is back where no row sees it; harm_gone_late: where the rows of the latter half do not.
    """
    here = causal[causal["position"] == position]
    means = here.groupby(["test", "target"])["value"].mean()
    effects, doses, cuts = means["mask"], means["harm_right"], means["cut_right"]
    once = judged.drop_duplicates("problem_id")
    clean, harmed = (float(once[f"{name}_correct"].mean()) for name in ("clean", "planted"))
    gone = {name: _ratio(float(cuts[name]) - harmed, clean - harmed) for name in cuts.index}
    curve = doses.rename(float).loc[lambda found: found.index <= 1].sort_index()  # beyond it, nobody has optimised
    return {
        "mask_first": float(int(str(effects.idxmax())) == position),
        "dose_rank": rank_correlation(curve.index.to_numpy(), curve.to_numpy())[0],
        "harm_gone": gone["every"],
        "harm_gone_late": gone["late"],
    }


def mean_curve(causal: pd.DataFrame) -> pd.Series[float]:
    """Return accuracy by dose of the harm, a mean over prompts and positions."""
    doses = causal[causal["test"] == "harm_right"]
    doses = doses.assign(dose=doses["target"].astype(float)).query("dose <= 1")
    cells = doses.groupby(["part", "seed", "position", "dose"])["value"]
    return cells.mean().groupby("dose").mean()


def _ratio(accuracy: float, clean: float) -> float:
    return accuracy / clean if clean else math.nan


def _random_hit(natural: pd.DataFrame, draw: str) -> float:
    """Return how often the vector located without harm is drawn at random for the question: 1 / n if all is well."""
    drawn = [int(hash_order(key, f"random_hit:{draw}")[:8], 16) for key in natural["problem_id"]]
    return float((natural["located"] == np.array(drawn, dtype=np.int64) % natural["vectors"]).mean())


def _judged(cell: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are reported: test where there are any."""
    test = cell[cell["split"] == "test"]
    return test if len(test) else cell


def _measures(here: pd.DataFrame, fired_ids: set[str]) -> dict[str, Any]:
    fired = here["problem_id"].isin(fired_ids)
    wrong, clean = ~here["planted_correct"], float(here["clean_correct"].mean())
    return {
        "seed": here["seed"].iloc[0],
        "questions": len(here),
        "vectors": here["vectors"].iloc[0],
        "clean": clean,
        "planted": float(here["planted_correct"].mean()),
        "masked": float(here["located_correct"].mean()),
        "fire_rate": float(fired.mean()),
        "fire_harmed": float(fired[wrong].mean()) if wrong.any() else math.nan,
    }


def _fires(cell: pd.DataFrame, default: str, trigger: Trigger) -> set[str]:
    """Return the questions that the trigger fires on at the R fitted on the cell's calibration rows."""
    rows = cell[cell["rule"] == default].reset_index(drop=True)
    tried = rows[rows["split"] == "calibration"].reset_index(drop=True)
    cases = pd.DataFrame({"base_correct": tried["planted_correct"], "corrupted_correct": tried["located_correct"]})
    fired_at = {share: fires(tried, trigger, share, None) for share in sorted(set(trigger.grid))}
    curve = threshold_curve(cases.astype(bool), fired_at)
    share = choose_share(curve, float(np.mean(cases["base_correct"])), trigger)[0]
    return set(rows.loc[fires(rows, trigger, share, None), "problem_id"])

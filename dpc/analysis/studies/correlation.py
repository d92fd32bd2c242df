"""The two analyses of the paper: accumulation against flow change, and S_IFP of right against wrong instances.

Pure functions from readings to the tables `layers`, `accumulation`, `positions` and `findings`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from dpc.analysis.readings.flow import Instance, block_means, token_flow
from dpc.analysis.stats import statistics
from dpc.analysis.stats.statistics import Estimate
from dpc.analysis.studies.limits import Limits
from dpc.config.layers import layer_range
from dpc.config.settings import Flow, Sample, Statistics
from dpc.storage.hashing import hash_order

BLOCKS = ("p→q", "p→r", "q→r", "r→r")
_THREE_SD = 10
"""So few values have none above mean + 3 SD: the largest of n is at most sqrt(n - 1) SD above their mean (Samuelson
(1968), J. Am. Stat. Assoc. 63, 1522-1525)."""


def sample_instances(readings: pd.DataFrame, sample: Sample) -> pd.DataFrame:
    """Add which test instances each analysis uses, by a fixed hash of `problem_id` (D30).

    `readings` has `correct`. Instances whose rationale is too short to have both halves are left out. `in_correlation`:
    the first `sample.correlation`; `in_separation`: the first `sample.per_class` right and as many wrong ones, or what
    there is of them.
    """
    usable = readings[readings["s_ifp"].notna() & readings["accumulation"].notna()]
    ordered = usable.sort_values("problem_id", key=lambda ids: ids.map(lambda i: hash_order(i, "study")))
    rank = ordered.groupby("correct").cumcount()
    chosen = ordered.assign(
        in_correlation=np.arange(len(ordered)) < sample.correlation, in_separation=rank < sample.per_class
    )
    return chosen[chosen["in_correlation"] | chosen["in_separation"]].reset_index(drop=True)


def mark_significant(readings: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """Add `accumulated` (D18), `flow_changed` (D19), `located_at_zero`, and turn `located` into the first vector.

    Null where a limit is not estimable, or the reading is missing.
    """
    located = readings["located"].map(lambda vectors: vectors[0] if len(vectors) else -1)
    accumulated = _above(readings["accumulation_z"], limits.accumulation_z)
    return readings.assign(
        located=located,
        located_at_zero=(located == 0) & readings["first_position"],
        accumulated=accumulated.mask(readings["accumulation"].isna()),
        flow_changed=_above(readings["s_ifp"], limits.flow_change).mask(readings["s_ifp"].isna()),
    )


def _above(values: pd.Series, limit: float | None) -> pd.Series:
    if limit is None:
        return pd.Series(None, index=values.index, dtype="boolean")
    return (values > limit).astype("boolean")


def layer_curves(instances: Sequence[Instance], confidence: float) -> pd.DataFrame:
    """Return table `layers`: S[X→Y] per layer, mean and interval over instances."""
    blocks = [block_means(instance, "tokens") for instance in instances]  # whole blocks: either cut gives the same
    rows = []
    for block in BLOCKS:
        values_IL = np.array([found[block] for found in blocks])
        for layer in range(values_IL.shape[1] if values_IL.size else 0):
            estimate = statistics.mean_interval(values_IL[:, layer], confidence)
            rows.append({"block": block, "layer": layer, **_interval(estimate, "mean"), "instances": estimate.n})
    return pd.DataFrame(rows, columns=["block", "layer", "mean", "low", "high", "instances"])


def _interval(estimate: Estimate, name: str) -> dict[str, float]:
    return {name: estimate.value, "low": estimate.low, "high": estimate.high}


def accumulation_by_layer(instances: Sequence[Instance]) -> pd.DataFrame:
    """Return table `accumulation`: mean share of each vector in the saliency the prompt receives, layer by layer."""
    shares = []
    for instance in instances:
        column_LN = instance.column_question_LN + instance.column_rationale_LN
        total_L1 = column_LN.sum(1, keepdims=True)
        shares.append(np.divide(column_LN, total_L1, out=np.full_like(column_LN, math.nan), where=total_L1 > 0))
    if not shares:
        return pd.DataFrame(columns=["layer", "vector", "mean", "instances"])
    mean_LN = np.nanmean(np.array(shares), axis=0)
    layers, vectors = np.indices(mean_LN.shape)
    return pd.DataFrame(
        {"layer": layers.ravel(), "vector": vectors.ravel(), "mean": mean_LN.ravel(), "instances": len(shares)}
    )


def position_curves(groups: Mapping[str, Sequence[Instance]], flow: Flow, bins: int, confidence: float) -> pd.DataFrame:
    """Return table `positions`: deep-layer flow from the prompt by relative position in the rationale.

    Each instance's tokens are put into `bins` equal parts of its rationale and averaged there first, so that long
    rationales do not count more.
    """
    rows = []
    for group, instances in groups.items():
        binned_IB = np.array([_binned(instance, flow, bins) for instance in instances]).reshape(-1, bins)
        for part in range(bins):
            values = binned_IB[:, part]
            estimate = statistics.mean_interval(values[~np.isnan(values)], confidence)
            rows.append({"group": group, "bin": part, **_interval(estimate, "mean"), "instances": estimate.n})
    return pd.DataFrame(rows, columns=["group", "bin", "mean", "low", "high", "instances"])


def _binned(instance: Instance, flow: Flow, bins: int) -> np.ndarray:
    values_T = token_flow(instance, layer_range(flow.deep_layers, instance.layers))
    part_T = np.arange(len(values_T)) * bins // max(len(values_T), 1)
    counts = np.bincount(part_T, minlength=bins)
    sums = np.bincount(part_T, weights=values_T, minlength=bins)
    return np.divide(sums, counts, out=np.full(bins, math.nan), where=counts > 0)


def findings(instances: pd.DataFrame, settings: Statistics, note: str) -> pd.DataFrame:
    """Return table `findings`: every number of the two analyses, the confidence baseline beside each.

    `note` says why limits are not estimable, if so.
    """
    rows = _correlation(instances[instances["in_correlation"]], settings, note)
    rows |= _separation(instances[instances["in_separation"]], settings)
    return pd.DataFrame(
        [{"name": name, **_interval(e, "value"), "p": e.p, "n": e.n, "note": e.note} for name, e in rows.items()],
        columns=["name", "value", "low", "high", "p", "n", "note"],
    )


def _correlation(chosen: pd.DataFrame, settings: Statistics, note: str) -> dict[str, Estimate]:
    """Accumulation against flow change (D21): shares as ranks, significance as a contingency table."""
    share = {
        "spearman_accumulation_s_ifp": statistics.spearman(chosen["accumulation"], chosen["s_ifp"], settings),
        "spearman_accumulation_nll": statistics.spearman(chosen["accumulation"], chosen["nll"], settings),
        "spearman_s_ifp_nll": statistics.spearman(chosen["s_ifp"], chosen["nll"], settings),
        "share_located_at_zero": statistics.proportion(
            int(chosen["located_at_zero"].sum()), len(chosen), settings.confidence
        ),
    }
    return _contingency(chosen, settings, note) | share | _accumulated(chosen, settings, note)


def _accumulated(chosen: pd.DataFrame, settings: Statistics, note: str) -> dict[str, Estimate]:
    """How many instances accumulate significantly (D18), and beside it how many by mean + 3 SD alone."""
    known = chosen["accumulated"].dropna().astype(bool)
    nothing = Estimate(math.nan, math.nan, math.nan, note=note or "no instance")
    z = chosen["accumulation_z"].dropna()
    by = {"share_accumulated": known, "share_accumulated_3sd": z > 3}
    found = {
        name: statistics.proportion(int(is_so.sum()), len(is_so), settings.confidence) if len(is_so) else nothing
        for name, is_so in by.items()
    }
    most = int(chosen["vectors"].max()) if len(chosen) else 0
    if 0 < most <= _THREE_SD:
        told = f"not estimable: of {most} vectors none can exceed mean + {math.sqrt(most - 1):.2f} SD"
        found["share_accumulated_3sd"] = replace(nothing, note=told)
    return found


def _contingency(chosen: pd.DataFrame, settings: Statistics, note: str) -> dict[str, Estimate]:
    known = chosen.dropna(subset=["accumulated", "flow_changed"])
    if known.empty:
        names = ("p_change_given_accumulation", "p_change_given_none", "phi", "fisher")
        nothing = Estimate(math.nan, math.nan, math.nan, note=note or "no instance")
        return dict.fromkeys(names, nothing)
    accumulated, changed = (known[c].astype(bool).to_numpy() for c in ("accumulated", "flow_changed"))
    counts = [[int((accumulated == a)[changed == c].sum()) for c in (True, False)] for a in (True, False)]

    def phi_of(a: Any, c: Any) -> float:
        return statistics.phi([[(a & c).sum(), (a & ~c).sum()], [(~a & c).sum(), (~a & ~c).sum()]])

    phi = statistics.bootstrap(phi_of, accumulated, changed, settings=settings)
    text = f"changed/unchanged: accumulated {counts[0][0]}/{counts[0][1]}, not {counts[1][0]}/{counts[1][1]}"
    p = statistics.fisher(counts)
    return {
        "p_change_given_accumulation": statistics.proportion(counts[0][0], sum(counts[0]), settings.confidence),
        "p_change_given_none": statistics.proportion(counts[1][0], sum(counts[1]), settings.confidence),
        "phi": Estimate(phi.value, phi.low, phi.high, p, len(known), text),
        "fisher": Estimate(p, math.nan, math.nan, p, len(known), text),
    }


def _separation(chosen: pd.DataFrame, settings: Statistics) -> dict[str, Estimate]:
    """Tell wrong from right by S_IFP, by the raw flow, and by the model's own mean NLL alone."""
    wrong, right = chosen[~chosen["correct"]], chosen[chosen["correct"]]
    found, sizes = {}, f"{len(right)} right, {len(wrong)} wrong"
    for reading in ("s_ifp", "flow_latter", "nll"):
        estimate = statistics.auc_interval(wrong[reading], right[reading], settings.confidence)
        note = "; ".join(text for text in (sizes, estimate.note) if text)
        found[f"auc_{reading}"] = replace(estimate, note=note)

    def ratio(flow: Any, is_wrong: Any) -> float:
        both = is_wrong.any() and not is_wrong.all()
        return float(flow[is_wrong].mean() / flow[~is_wrong].mean()) if both else math.nan

    flow, is_wrong = chosen["flow_latter"].to_numpy(), ~chosen["correct"].to_numpy(dtype=bool)
    estimate = statistics.bootstrap(ratio, flow, is_wrong, settings=settings)
    if min(len(right), len(wrong)) == 1:  # the bootstrap draws the one again and again
        estimate = replace(estimate, low=math.nan, high=math.nan, note=f"{sizes}; fewer than two cases in a group")
    found["flow_ratio_wrong_right"] = estimate
    for name, group in (("right", right), ("wrong", wrong)):
        found[f"mean_s_ifp_{name}"] = statistics.mean_interval(group["s_ifp"], settings.confidence)
    return found

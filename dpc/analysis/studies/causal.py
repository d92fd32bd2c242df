"""Claims j1 to j8: does the flow do the harm? Read off table `causal`, and off tables that are there without it.

Fixed before any number is looked at, as claims a to h are; docs/claims.md says the same in plain words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from dpc.analysis.stats import pooled
from dpc.analysis.stats.pooled import LOGIT, PLAIN, Pooled, Scale, pool
from dpc.analysis.studies.claims import Cell, Claim, Found, Unjudged

MEASURES = ("saliency", "attention", "value_flow", "gradient", "norm")
"""What may say which vector matters; tests of table `causal`."""
WINDOW = 0.1
"""Shares of affected tokens this far from R at most are just above or just below it."""
KEY = ["seed", "problem_id"]


def wide(causal: pd.DataFrame, test: str) -> pd.DataFrame:
    """Return the values of one test: a row per seed and question, a column per target."""
    rows = causal[causal["test"] == test]
    return rows.pivot(index=KEY, columns="target", values="value") if len(rows) else pd.DataFrame()


def agreement(causal: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return, per seed and question, Spearman's correlation over vectors of a measure with the effect of masking them.

    Columns seed, problem_id, value; questions whose vectors all measure the same are left out.
    """
    effect, said = wide(causal, "mask"), wide(causal, measure)
    if effect.empty or said.empty:
        return pd.DataFrame(columns=[*KEY, "value"])
    ranks = [values.rank(axis=1) for values in (effect, said.reindex_like(effect))]
    rests = [rank.sub(rank.mean(axis=1), axis=0) for rank in ranks]
    sizes = [np.sqrt((rest**2).sum(axis=1)) for rest in rests]
    value = (rests[0] * rests[1]).sum(axis=1) / (sizes[0] * sizes[1]).where((sizes[0] > 0) & (sizes[1] > 0))
    return value.dropna().rename("value").reset_index()


def _counted(rows: pd.DataFrame) -> int:
    return int(rows["problem_id"].nunique())


def _over_seeds(
    cell: Cell, statistic: Callable[..., pooled.Result], rows: pd.DataFrame, *columns: pd.Series, scale: Scale,
    null: float = 0.0,
) -> Pooled:  # fmt: skip
    key = (rows["seed"], rows["problem_id"])
    return pool(statistic, *key, *columns, confidence=cell.confidence, scale=scale, null=null)


def _not_run(test: str) -> Unjudged:
    return Unjudged(f"not run: causal.tests has no {test}")


def _mean(cell: Cell, rows: pd.DataFrame, is_share: bool, without: str) -> Found | Unjudged:
    """Return the mean of column `value`, a share held against one half; without rows it is not estimable."""
    if rows.empty:
        return Unjudged(f"not estimable: {without}")
    scale, null = (LOGIT, 0.5) if is_share else (PLAIN, 0.0)
    return Found(_over_seeds(cell, pooled.mean, rows, rows["value"], scale=scale, null=null), _counted(rows))


def saliency_ranks_effects(cell: Cell) -> Found | Unjudged:
    """Return how saliency ranks a question's vectors against the loss that masking each costs, -1 to 1."""
    if not _has(cell, "mask"):
        return _not_run("mask")
    return _mean(cell, agreement(cell.causal, "saliency"), is_share=False, without="no two vectors differ")


def _has(cell: Cell, test: str) -> bool:
    return bool((cell.causal["test"] == test).any())


def _beats(one: pd.Series, other: pd.Series) -> pd.DataFrame:
    """Return, per seed and question, 1 where `one` exceeds `other`, 1/2 where they are equal, else 0."""
    return ((one > other) + 0.5 * (one == other)).rename("value").reset_index()


def dose_strength(causal: pd.DataFrame, what: str) -> pd.Series:
    """Return the mean size of the loss's change over doses, per seed and question."""
    doses = wide(causal, "dose_loss")
    return doses[[target for target in doses if str(target).startswith(f"{what}:")]].abs().mean(axis=1)


def located_dose(cell: Cell) -> Found | Unjudged:
    """Return the share of questions at which the located vector's doses change the loss more than another vector's."""
    if not _has(cell, "dose_loss"):
        return _not_run("dose")
    strengths = [dose_strength(cell.causal, what) for what in ("located", "random")]
    return _mean(cell, _beats(*strengths).dropna(), is_share=True, without="the prompt has one vector")


def deep_cut(cell: Cell) -> Found | Unjudged:
    """Return the area under the ROC curve for wrong answers of how far the cut of deep layers changes the late loss."""
    cuts = wide(cell.causal, "cut_loss")
    if cuts.empty:
        return _not_run("knock_out")
    change = cuts["deep:prompt"].abs().rename("value").reset_index()
    return _auc(cell, change.merge(cell.evidence[[*KEY, "correct"]], on=KEY, validate="one_to_one"), "value", True)


def _auc(cell: Cell, rows: pd.DataFrame, column: str, of_wrong: bool) -> Found:
    wrong = ~rows["correct"].astype(bool)
    kind = wrong if of_wrong else ~wrong
    fewer = min(_counted(rows[wrong]), _counted(rows[~wrong]))
    return Found(_over_seeds(cell, pooled.auc, rows, rows[column], kind, scale=LOGIT, null=0.5), fewer)


def recovered(causal: pd.DataFrame) -> pd.DataFrame:
    """Return by how much another seed's states raise the log-odds of the right answer: a column per band of layers."""
    path = wide(causal, "path")
    return path.drop(columns="own").sub(path["own"], axis=0) if len(path) else path


def _no_broken(test: str) -> Unjudged:
    return Unjudged(f"not estimable: the prompt broke no question, or causal.tests has no {test}")


def shallow_state(cell: Cell) -> Found | Unjudged:
    """Return the share of broken questions at which the shallow layers' states mend more than the deep ones' do."""
    gains = recovered(cell.causal)
    if gains.empty:
        return _no_broken("path, or there is no second seed")
    return _mean(cell, _beats(gains["shallow"], gains["deep"].clip(lower=0)), is_share=True, without="no state")


def first_parting(cell: Cell) -> Found | Unjudged:
    """Return the share of broken questions that one forced token mends, where the two answers part."""
    forced = wide(cell.causal, "divergence")
    if "prompted" not in forced:
        return _no_broken("divergence")
    return _mean(cell, forced["prompted"].rename("value").reset_index(), is_share=True, without="no token to force")


def _test(cell: Cell, column: str) -> pd.DataFrame:
    rows = cell.evidence[cell.evidence["split"] == "test"]
    return rows[rows[column].notna()]


def _matched(cell: Cell, column: str) -> Found | Unjudged:
    rows = _test(cell, column)
    wrong = ~rows["correct"].astype(bool)
    made = pooled.matched(rows[column], wrong, rows["seed"], rows["problem_id"], cell.confidence)
    if not made:
        return Unjudged("not estimable: one prompt seed, and pairs need two")
    if len(rows) and not made.questions:
        return Unjudged("not estimable: no question is right under one seed and wrong under another")
    return Found(made, made.questions)


def matched_s_ifp(cell: Cell) -> Found | Unjudged:
    """Return the difference in S_IFP, in ranks, of a question that is wrong under one seed and right under another."""
    return _matched(cell, "s_ifp")


def matched_flow(cell: Cell) -> Found | Unjudged:
    """Return the same difference in raw flow."""
    return _matched(cell, "flow_latter")


def near_threshold(cell: Cell) -> pd.DataFrame:
    """Return the eligible test questions near R, seed by seed: columns above, and value, what corruption changed.

    Test questions, not those of calibration: R was chosen for what it gains there. Seeds that lack one side are left
    out, as are those without R.
    """
    limits = cell.thresholds.set_index("seed")["share"].dropna() if len(cell.thresholds) else pd.Series(dtype=float)
    rows = _test(cell, "affected_share")
    rows = rows[rows["eligible"].astype(bool) & rows["seed"].isin(limits.index)]
    rows = rows.assign(distance=rows["affected_share"] - rows["seed"].map(limits))
    rows = rows[rows["distance"].abs() <= WINDOW].assign(above=lambda near: near["distance"] > 0)
    single = cell.outcomes[(cell.outcomes["plan"] == "always") & (cell.outcomes["candidate"] < 0)]
    rows = rows.merge(single[[*KEY, "correct"]], on=KEY, suffixes=("", "_after"), validate="one_to_one")
    rows = rows.assign(value=rows["correct_after"].astype(float) - rows["correct"].astype(float))
    return rows[rows.groupby("seed")["above"].transform("nunique") == 2]


def jump_at_threshold(cell: Cell) -> Found | Unjudged:
    """Return what corruption gains just above R, less what it gains just below it, a share of the questions."""
    rows = near_threshold(cell)
    if rows.empty:
        return Unjudged("not estimable: no seed has an R with corrupted answers on both sides")
    made = _over_seeds(cell, pooled.step, rows, rows["value"], rows["above"], scale=PLAIN)
    return Found(made, min(_counted(rows[rows["above"]]), _counted(rows[~rows["above"]])))


def flow_when_wrong(cell: Cell) -> Found:
    """Return the area under the ROC curve of raw flow for wrong answers, all test questions."""
    return _auc(cell, _test(cell, "flow_latter"), "flow_latter", True)


def flow_when_right(cell: Cell) -> Found:
    """Return the area under the ROC curve of raw flow for right answers, all test questions."""
    return _auc(cell, _test(cell, "flow_latter"), "flow_latter", False)


CLAIMS: tuple[Claim, ...] = (
    Claim("j1", "saliency ranks vectors by their effect", "Spearman over vectors, c_j and the loss that masking costs",
          saliency_ranks_effects),
    Claim("j2", "the located vector's dose matters most", "share of questions, located vector against a random one",
          located_dose, null=0.5),
    Claim("j3", "deep flow to late steps does the harm", "AUC for wrong of the change by cutting it", deep_cut,
          null=0.5, by_correctness=True),
    Claim("j4", "the shallow prompt state carries the harm", "share of broken questions it mends more than deep layers",
          shallow_state, null=0.5),
    Claim("j5", "the harm is decided at one token", "share of broken questions that forcing it mends", first_parting,
          null=0.5),
    Claim("j6a", "S_IFP is higher where the same question goes wrong", "difference in ranks, two seeds", matched_s_ifp,
          by_correctness=True),
    Claim("j6b", "raw flow is higher where the same question goes wrong", "difference in ranks, two seeds",
          matched_flow, by_correctness=True),
    Claim("j7", "the effect of corruption jumps at R", "gain just above R − gain just below, points", jump_at_threshold,
          shown="points"),
    Claim("j8a", "the paper's sign: more flow when wrong", "AUC of raw flow for wrong, all test questions",
          flow_when_wrong, null=0.5, by_correctness=True),
    Claim("j8b", "the sister paper's sign: more flow when right", "AUC of raw flow for right, all test questions",
          flow_when_right, null=0.5, by_correctness=True),
)  # fmt: skip

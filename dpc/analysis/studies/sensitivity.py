"""How much depends on each choice: fire rate, location and gain over grids of settings.

Pure functions of one cell's tables. A sweep varies two choices and leaves all others as configured:

threshold   kappa (rows) x R (columns)
deep        deep layers x where the rationale is cut; R is chosen anew, as on calibration
shallow     shallow layers x receivers; R stays, another vector may be located
edit        gamma x the factor on the located vector; needs answers of its own

What DPC takes from right calibration cases (a `trigger.baseline`, D18's limit) is fitted anew for every choice; with
too few such cases there is none, and no question fires, as in DPC.

A gain is known where the answer under the edit that a setting asks for is stored; where another vector is located than
the configured one, that may be for some of the fired questions only, and the table says for how many. What does not
fire is known to gain nothing, so a gain is the rate of firing times the mean over the fired questions that are known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dpc.analysis.readings.baseline import Baseline
from dpc.analysis.readings.flow import Instance, column_saliency, largest_z, late_flow
from dpc.analysis.readings.reading import TokenFlow, affected_tokens, baseline_of, most_salient
from dpc.analysis.studies.limits import choose_share, limits, threshold_curve
from dpc.config.kinds import Layers
from dpc.config.layers import layer_range
from dpc.config.settings import Corrupt, Flow, Locate, Sensitivity, Significance, Trigger
from dpc.plans import triggers
from dpc.storage import tables

COLUMNS = ["sweep", "row", "column", "split", "configured", "best", "share", "fire_rate", "gain", "accuracy", "known",
           "same_vector", "questions"]  # fmt: skip
CUTS = ("tokens", "steps", "mean of steps")
"""Halves of tokens or of steps; flow per token, or the mean over each step."""
RECEIVERS = ("question_and_rationale", "rationale")


@dataclass(frozen=True)
class Choice:
    """One point of a grid."""

    sweep: str
    row: str
    column: str
    flow: Flow
    trigger: Trigger
    locate: Locate
    corrupt: Corrupt
    share: float | None = None
    """R; None where it is fitted or the seed's."""

    @property
    def edit(self) -> tuple[float, float]:
        """Return what of the edit is swept: gamma, and the factor on the located vector."""
        return edit_of(self.corrupt)

    @property
    def reading(self) -> str:
        """Return a name of what is read off saliency: choices that differ in R or the edit alone share it."""
        return "".join(part.model_dump_json() for part in (self.flow, self.trigger, self.locate))


Answers = dict[tuple[str, tuple[int, ...], float, float], bool]
"""By problem_id, masked vectors, gamma and mask factor: right after that edit."""


def edit_of(corrupt: Corrupt) -> tuple[float, float]:
    """Return gamma and the factor on the located vector, as the `plans` table writes them."""
    return float(corrupt.gamma), float(corrupt.mask_value) if corrupt.mask == "scale" else 0.0


def edits(settings: Sensitivity, corrupt: Corrupt) -> list[Corrupt]:
    """Return every corruption of sweep `edit`, the configured one among them; none if nothing is to be tried."""
    if not settings.gammas and not settings.mask_values:
        return []
    factors = {*settings.mask_values, corrupt.mask_value} if corrupt.mask == "scale" else {corrupt.mask_value}
    grid = itertools.product(sorted({*settings.gammas, corrupt.gamma}), sorted(factors))
    return [corrupt.model_copy(update={"gamma": float(g), "mask_value": float(value)}) for g, value in grid]


def choices(
    settings: Sensitivity, flow: Flow, trigger: Trigger, locate: Locate, corrupt: Corrupt, layers: int
) -> list[Choice]:
    """Return every point of the grids."""
    as_set = Choice("", "", "", flow, trigger, locate, corrupt)
    return [
        *_thresholds(settings, as_set),
        *_deep(settings, as_set, layers),
        *_shallow(settings, as_set, layers),
        *(
            replace(as_set, sweep="edit", row=f"{other.gamma:g}", column=f"{other.mask_value:g}", corrupt=other)
            for other in edits(settings, corrupt)
        ),
    ]


def _thresholds(settings: Sensitivity, as_set: Choice) -> Iterator[Choice]:
    for kappa in sorted({*settings.kappas, as_set.trigger.kappa}):
        own = as_set.trigger.model_copy(update={"kappa": kappa})
        for share in sorted(set(own.grid)):
            yield replace(as_set, sweep="threshold", row=f"{kappa:g}", column=f"{share:g}", trigger=own, share=share)


def _deep(settings: Sensitivity, as_set: Choice, layers: int) -> Iterator[Choice]:
    flow = as_set.flow
    for (name, spec), cut in itertools.product(ranges(settings.layers, flow.deep_layers, layers).items(), CUTS):
        halves = flow.halves if cut == CUTS[2] else cut  # steps are halved by their number
        there = flow.model_copy(update={"deep_layers": spec, "halves": halves})
        per = as_set.trigger.model_copy(update={"granularity": "step" if cut == CUTS[2] else "token"})
        yield replace(as_set, sweep="deep", row=name, column=cut, flow=there, trigger=per)


def _shallow(settings: Sensitivity, as_set: Choice, layers: int) -> Iterator[Choice]:
    flow, locate = as_set.flow, as_set.locate
    kinds = dict.fromkeys([*RECEIVERS, locate.receivers])
    tried = ranges(settings.layers, flow.shallow_layers, layers).items()
    for (name, spec), receivers in itertools.product(tried, kinds):
        if receivers == "affected" and spec != flow.shallow_layers:
            continue  # rows x columns are stored for one band alone
        there = flow.model_copy(update={"shallow_layers": spec})
        into = locate.model_copy(update={"receivers": receivers})
        yield replace(as_set, sweep="shallow", row=name, column=receivers.replace("_", " "), flow=there, locate=into)


def ranges(specs: Iterable[Layers], configured: Layers, layers: int) -> dict[str, Layers]:
    """Return the layer ranges of a sweep by name, `1–5`, each once, with quarters of the depth."""
    edges = sorted({round(part * layers / 4) for part in range(5)})
    quarters: list[Layers] = [[low, high - 1] for low, high in itertools.pairwise(edges)]
    found: dict[str, Layers] = {}
    for spec in [configured, *specs, *quarters]:
        there = layer_range(spec, layers)
        name = f"{there[0]}–{there[-1]}" if len(there) > 1 else f"{there[0]}"
        found.setdefault(name, spec)
    return dict(sorted(found.items(), key=lambda item: (layer_range(item[1], layers)[0], len(item[0]), item[0])))


def measured(
    instances: Iterable[Instance], grid: Iterable[Choice], right: Sequence[Instance], least: int
) -> dict[str, pd.DataFrame]:
    """Return what each reading of `grid` says of the instances, which are gone through once.

    By `Choice.reading`: `affected_share`, `located` vectors and `accumulation_z` of each instance, by problem_id.
    `right` are the right calibration cases, for a `trigger.baseline` that is fitted on at `least` so many of them.
    """
    tried = {choice.reading: choice for choice in grid}
    usual = {
        key: baseline_of((TokenFlow.of(each, choice.flow) for each in right), choice.trigger, least)
        for key, choice in tried.items()
    }
    found: dict[str, list[tuple[object, ...]]] = {key: [] for key in tried}
    for instance in instances:
        for key, choice in tried.items():
            found[key].append(_measured(instance, choice, usual[key]))
    columns = ["problem_id", "affected_share", "located", "accumulation_z"]
    return {key: pd.DataFrame(rows, columns=columns).set_index("problem_id") for key, rows in found.items()}


def _measured(instance: Instance, choice: Choice, usual: Baseline | None) -> tuple[object, ...]:
    affected_T, share = affected_tokens(TokenFlow.of(instance, choice.flow), choice.trigger, usual)
    shallow = layer_range(choice.flow.shallow_layers, instance.layers)
    column_N = column_saliency(instance, shallow, choice.locate.receivers, affected_T)
    return instance.problem_id, share, most_salient(column_N, choice.locate), largest_z(column_N)


@dataclass(frozen=True)
class Cases:
    """One split of a cell, by problem_id in one order."""

    eligible: pd.Series[bool]
    base: pd.Series[bool]
    """Right under prompt tuning."""
    after: Answers
    """Right after an edit, where it was generated."""
    configured: pd.Series
    """Vectors located as configured."""
    z_limit: float | None = None
    """D18's, where the rule is `share_and_accumulation`."""

    def corrupted(self, located: pd.Series, choice: Choice) -> pd.Series[float]:
        """Return 1 or 0, right or wrong after the edit of the `located` vectors; nan where it was never generated."""
        keys = zip(located.index, located, strict=True)
        found = [self.after.get((key, tuple(sorted(vectors)), *choice.edit)) for key, vectors in keys]
        return pd.Series([math.nan if right is None else float(right) for right in found], index=located.index)


def fires(choice: Choice, readings: pd.DataFrame, cases: Cases, share: float | None) -> pd.Series[bool]:
    """Say which cases DPC fires on at R = `share`; None never fires."""
    return triggers.fires(readings.assign(eligible=cases.eligible), choice.trigger, share, cases.z_limit)


def fitted_share(choice: Choice, readings: pd.DataFrame, cases: Cases) -> float | None:
    """Return R as it would be chosen on these cases, all else as in `choice`."""
    after = cases.corrupted(readings["located"], choice)
    known = after.notna()
    table = pd.DataFrame({"base_correct": cases.base[known], "corrupted_correct": after[known] == 1})
    fired_at = {share: fires(choice, readings, cases, share)[known] for share in choice.trigger.grid}
    if table.empty:
        return None
    return choose_share(threshold_curve(table, fired_at), float(table["base_correct"].mean()), choice.trigger)[0]


def outcome(choice: Choice, readings: pd.DataFrame, cases: Cases, share: float | None) -> dict[str, object]:
    """Return what a choice does at R = `share`: shares of 0 to 1."""
    fired = fires(choice, readings, cases, share)
    after = cases.corrupted(readings["located"], choice).where(fired, cases.base.astype(float))
    gain = float(gains(after, cases.base, fired).mean())
    same = [set(a) == set(b) for a, b in zip(readings["located"], cases.configured, strict=True)]
    return {
        "sweep": choice.sweep, "row": choice.row, "column": choice.column, "share": share,
        "fire_rate": float(fired.mean()), "gain": gain, "accuracy": float(cases.base.mean()) + gain,
        "known": float(after.notna().mean()), "same_vector": float(np.mean(same)), "questions": len(fired),
    }  # fmt: skip


def gains(after: pd.Series[float], base: pd.Series[bool], fired: pd.Series[bool]) -> pd.Series[float]:
    """Return the change of each question, so that their mean is the gain: fire rate x mean over the known fired ones.

    `after` is right (1), wrong (0) or unknown (nan). The known fired questions stand for the unknown ones, which get 0;
    nan throughout where none of the fired is known.
    """
    known = fired & after.notna()
    weight = fired.sum() / known.sum() if known.any() else math.nan if fired.any() else 0.0
    return weight * (after - base).where(known, 0.0)


def fitted_limit(
    choice: Choice, readings: pd.DataFrame, right: Sequence[Instance], significance: Significance
) -> float | None:
    """Return D18's limit as it would be fitted on the `right` calibration cases; None where no rule asks for it."""
    if choice.trigger.rule != "share_and_accumulation":
        return None
    ids, ratios = [each.problem_id for each in right], [late_flow(each, choice.flow)["s_ifp"] for each in right]
    found = pd.DataFrame({"accumulation_z": readings.loc[ids, "accumulation_z"].to_numpy(), "s_ifp": ratios})
    return limits(found, significance).accumulation_z


def sweep(
    grid: Sequence[Choice], calibration: Cases, test: Cases, share: float | None, as_set: Sequence[bool],
    significance: Significance, instances: Callable[[str], Iterable[Instance]],
) -> pd.DataFrame:  # fmt: skip
    """Return table `sensitivity`: every choice on calibration; the configured and each sweep's best once on test.

    `share` is the seed's R, which sweep `shallow` keeps; `as_set` marks the choices that are the configured one. The
    best of a sweep has the largest gain on calibration, ties going to the configured one, then to the larger R.
    `instances` reads those of a split: calibration's are kept in memory, test's are gone through one by one.
    """
    kept = list(instances("calibration"))
    right = [each for each in kept if calibration.base[each.problem_id]]
    rows, z_limits, read = [], [], measured(kept, grid, right, significance.min_cases)
    for choice, configured in zip(grid, as_set, strict=True):
        readings = read[choice.reading]
        z_limits.append(fitted_limit(choice, readings, right, significance))
        calibration = replace(calibration, z_limit=z_limits[-1])
        at = choice.share if choice.sweep == "threshold" else share
        at = fitted_share(choice, readings, calibration) if choice.sweep == "deep" else at
        found = outcome(choice, readings, calibration, at)
        rows.append({**found, "split": "calibration", "configured": configured})
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "best"])
    table["best"] = _best(table)
    shown = list(map(int, np.flatnonzero(table["configured"] | table["best"])))
    read = measured(instances("test"), [grid[number] for number in shown], right, significance.min_cases)
    again = []
    for number in shown:
        row, choice, cases = table.iloc[number], grid[number], replace(test, z_limit=z_limits[number])
        found = outcome(choice, read[choice.reading], cases, tables.number(row["share"]))
        again.append({**found, "split": "test", "configured": row["configured"], "best": row["best"]})
    return pd.concat([table, pd.DataFrame(again)], ignore_index=True)[COLUMNS]


def _best(table: pd.DataFrame) -> pd.Series[bool]:
    """Mark, in each sweep, the choice with the largest gain among those known for every question."""
    best = pd.Series(False, index=table.index)
    for _, rows in table.groupby("sweep"):
        whole = rows[rows["known"] > 1 - 1e-9]
        if len(whole):
            order = whole.assign(rounded=whole["gain"].round(9))
            best[order.sort_values(["rounded", "configured", "share"], ascending=False, kind="stable").index[0]] = True
    return best


def is_configured(
    choice: Choice, flow: Flow, trigger: Trigger, locate: Locate, corrupt: Corrupt, share: float | None
) -> bool:
    """Say whether a choice is what the configuration says, R being the seed's."""
    same_share = choice.sweep != "threshold" or choice.share == share
    same = (choice.flow, choice.trigger, choice.locate) == (flow, trigger, locate)
    return same and choice.edit == edit_of(corrupt) and same_share

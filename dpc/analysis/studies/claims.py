"""The paper's claims as tests: what each says, the number that decides, and how much data it needs.

Fixed before any number is looked at; `verdicts.py` turns the numbers into verdicts and `docs/claims.md`
says both in plain words. Every number is a mean over prompt seeds on test questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from dpc.analysis.stats import pooled, power, verdicts
from dpc.analysis.stats.chance import is_luck
from dpc.analysis.stats.pooled import FISHER, LOGIT, Pooled, Scale, pool
from dpc.analysis.stats.verdicts import Verdict
from dpc.analysis.studies import readability
from dpc.analysis.studies.confounds import GIVEN, partial, usable
from dpc.storage import tables


@dataclass(frozen=True)
class Cell:
    """The tables of one model, dataset and recipe, all seeds below each other, with a column `seed`."""

    evidence: pd.DataFrame
    outcomes: pd.DataFrame
    mechanism: pd.DataFrame
    causal: pd.DataFrame = field(default_factory=lambda: tables.empty("causal"))
    thresholds: pd.DataFrame = field(default_factory=lambda: tables.empty("thresholds"))
    confidence: float = 0.95
    chance: float = 0.0
    """Accuracy that guessing reaches."""
    right_cases: Mapping[int, int] = field(default_factory=dict)
    """Right calibration cases by seed: with fewer than `min_cases` a seed has no limits of D18 and D19."""
    min_cases: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Plans that ran and are not to be compared, and why."""


@dataclass(frozen=True)
class Found:
    """What a claim's test found."""

    pooled: Pooled
    positives: int
    """Different questions of the kind the claim is about."""
    note: str = ""
    """What the number leaves out, or is watered down by."""


@dataclass(frozen=True)
class Unjudged:
    """A claim that has no verdict: nothing was run, nothing can be estimated, or both sides are the same answers."""

    reason: str


NO_READING = Unjudged("not estimable: no test answer has these readings")
NEVER_FIRED = Unjudged("DPC never fired: it is prompt tuning")
NO_HEAD = Unjudged("no head confirmed: ACT is prompt tuning")


@dataclass(frozen=True)
class Claim:
    """One claim: supported where the measured value is clearly above `null`."""

    key: str
    says: str
    test: str
    measure: Callable[[Cell], Found | Unjudged]
    null: float = 0.0
    shown: str = "plain"
    """`plain`, `points` (percentage points) or `ratio` (the exponential)."""
    published: str = ""
    by_correctness: bool = False
    """Compares right with wrong answers: nothing to interpret where right ones may be luck."""


def _counted(rows: pd.DataFrame) -> int:
    return int(rows["problem_id"].nunique())


def _pooled(
    cell: Cell, rows: pd.DataFrame, statistic: Callable[..., pooled.Result], *columns: pd.Series, scale: Scale,
    null: float = 0.0,
) -> Pooled:  # fmt: skip
    return pool(
        statistic, rows["seed"], rows["problem_id"], *columns, confidence=cell.confidence, scale=scale, null=null
    )


def _correlated(cell: Cell) -> pd.DataFrame:
    return cell.evidence[cell.evidence["in_correlation"].astype(bool)]


def accumulation_and_s_ifp(cell: Cell) -> Found:
    """Spearman's correlation of the located vector's share in shallow layers with S_IFP in deep ones (D21)."""
    rows = _correlated(cell)
    return Found(
        _pooled(cell, rows, pooled.rank_correlation, rows["accumulation"], rows["s_ifp"], scale=FISHER), _counted(rows)
    )


def accumulation_and_change(cell: Cell) -> Found | Unjudged:
    """Correlate the yes/no columns of D18 and D19, φ; the claim is about accumulated instances."""
    rows = _correlated(cell).dropna(subset=["accumulated", "flow_changed"])
    few = [count for count in cell.right_cases.values() if count < cell.min_cases]
    cases = f"{_listed(few)} of {cell.min_cases} right calibration cases"
    if rows.empty and few:
        return Unjudged(f"not estimable: {cases}")
    accumulated, changed = rows["accumulated"].astype(bool), rows["flow_changed"].astype(bool)
    return Found(
        _pooled(cell, rows, pooled.rank_correlation, accumulated, changed, scale=FISHER), _counted(rows[accumulated]),
        f"{len(few)} of {len(cell.right_cases)} seeds left out: {cases}" if few else "",
    )  # fmt: skip


def _listed(counts: list[int]) -> str:
    """Return `4`, or `4, 7` where seeds differ."""
    return ", ".join(map(str, dict.fromkeys(counts)))


def _separation(cell: Cell) -> tuple[pd.DataFrame, pd.Series, int]:
    rows = cell.evidence[cell.evidence["in_separation"].astype(bool)]
    wrong = ~rows["correct"].astype(bool)
    return rows, wrong, min(_counted(rows[wrong]), _counted(rows[~wrong]))


def s_ifp_separates(cell: Cell) -> Found:
    """Area under the ROC curve of S_IFP for wrong answers, on the 50/50 sample."""
    rows, wrong, fewer = _separation(cell)
    return Found(_pooled(cell, rows, pooled.auc, rows["s_ifp"], wrong, scale=LOGIT, null=0.5), fewer)


def flow_ratio(cell: Cell) -> Found:
    """Mean raw flow of wrong answers to that of right ones, on the 50/50 sample (the paper's figure 4c)."""
    rows, wrong, fewer = _separation(cell)
    return Found(_pooled(cell, rows, pooled.log_ratio, rows["flow_latter"], wrong, scale=pooled.PLAIN), fewer)


def s_ifp_beyond_confidence(cell: Cell) -> Found:
    """Partial rank correlation of S_IFP with error given NLL, length and steps, on all test questions."""
    rows = usable(cell.evidence)
    wrong = ~rows["correct"].astype(bool)
    return Found(partial(rows, "s_ifp", GIVEN, cell.confidence), min(_counted(rows[wrong]), _counted(rows[~wrong])))


def _of_sample(cell: Cell, column: str, null: float = 0.0) -> Found:
    """Mean of a column of the evidence over the instances of the accumulation study, held against `null`."""
    rows = _correlated(cell)
    rows = rows[rows[column].notna()]
    return Found(_pooled(cell, rows, pooled.mean, rows[column], scale=pooled.PLAIN, null=null), _counted(rows))


def concentration(cell: Cell) -> Found:
    """How many times the largest share exceeds that of a whole broken at random into as many parts."""
    return _of_sample(cell, "concentration", null=1.0)


def locations_differ(cell: Cell) -> Found:
    """Return how often two test questions locate different vectors, under the same prompt."""
    rows = cell.evidence[(cell.evidence["split"] == "test") & cell.evidence["located"].notna()]
    count = _counted(rows)
    made = _pooled(cell, rows, pooled.disagreement, rows["located"], scale=LOGIT, null=0.5)
    return Found(pooled.all_agree(made, cell.confidence) if made.value == 0 else made, count)


def strongest_layers(cell: Cell) -> Found:
    """Log of the prompt's mean influence in layers 2-10 (scaled by depth) to that in all others."""
    return _of_sample(cell, "band_log_ratio")


def gain(over: str, plan: str = "dpc") -> Callable[[Cell], Found | Unjudged]:
    """Return the test of a plan, DPC, against plan `over`, paired by seed and question.

    It is about the questions that either plan gets wrong: nothing else can change. Seeds under which ACT fires on no
    question (no head was confirmed) are left out where it is ACT that DPC is held against: prompt tuning stands there.
    """

    def measure(cell: Cell) -> Found | Unjudged:
        if nothing := _incomparable(cell, plan, over):
            return nothing
        single, note = cell.outcomes[cell.outcomes["candidate"] < 0], ""
        if plan == "dpc":
            note = _idle(cell.outcomes, plan, "DPC never fired")
        if over == "act":
            note = "; ".join(filter(None, [note, _idle(single, over, "left out, as no head was confirmed:")]))
            single = single[single["seed"].isin(_applied(single, over))]
        keys = ["seed", "problem_id"]
        plans = {name: single[single["plan"] == name].set_index(keys)["correct"].astype(bool) for name in (plan, over)}
        paired = pd.concat(plans, axis=1, join="inner").reset_index()
        made = pooled.gain(paired[plan], paired[over], paired["seed"], paired["problem_id"], cell.confidence)
        open_ = paired[~(paired[plan] & paired[over])]
        return Found(made, _counted(open_), note)

    return measure


def _incomparable(cell: Cell, plan: str, over: str) -> Unjudged | None:
    """Return why `plan` cannot be held against `over`; None where it can."""
    if over in cell.left_out:
        return Unjudged(cell.left_out[over])
    missing = [name for name in (plan, over) if not (cell.outcomes["plan"] == name).any()]
    if missing:
        return Unjudged(f"not run: study.plans has no {' and no '.join(missing)}")
    if plan == "dpc" and not _applied(cell.outcomes, plan):
        return NEVER_FIRED
    return NO_HEAD if over == "act" and not _applied(cell.outcomes, over) else None


def _applied(outcomes: pd.DataFrame, plan: str) -> set[int]:
    """Return the seeds under which `plan` fires."""
    return set(outcomes.loc[(outcomes["plan"] == plan) & outcomes["fired"].astype(bool), "seed"])


def _idle(outcomes: pd.DataFrame, plan: str, what: str) -> str:
    """Return `what` with the count of the seeds under which `plan` fires on no question; nothing if there are none."""
    seeds = set(outcomes["seed"])
    idle = len(seeds - _applied(outcomes, plan))
    return f"{what} under {idle} of {len(seeds)} seeds" if idle else ""


def flow_fell(cell: Cell) -> Found | Unjudged:
    """Log of the flow from the prompt to late steps before corruption to that after it, over fired questions."""
    own = cell.mechanism[cell.mechanism["plan"] == "dpc"]
    fired = own[own["fired"].astype(bool)]
    rows = fired[(fired["flow_latter_before"] > 0) & (fired["flow_latter_after"] > 0)]
    if own.empty:
        return Unjudged("not run: mechanism.plans or study.plans has no dpc")
    if rows.empty:
        return NEVER_FIRED if fired.empty else Unjudged("not estimable: no flow from the prompt before or after")
    fall = (rows["flow_latter_before"] / rows["flow_latter_after"]).map(math.log)
    return Found(
        _pooled(cell, rows, pooled.mean, fall, scale=pooled.PLAIN), _counted(rows), _idle(own, "dpc", "DPC never fired")
    )


def _gain(key: str, says: str, over: str, of: str) -> Claim:
    return Claim(key, says, f"accuracy of DPC − {of}, points", gain(over), shown="points")


CLAIMS: tuple[Claim, ...] = (
    Claim("a1", "shallow accumulation goes with deep flow change", "Spearman, share of c_j* and S_IFP",
          accumulation_and_s_ifp),
    Claim("a2", "shallow accumulation goes with deep flow change", "φ, significant accumulation and flow change",
          accumulation_and_change),
    Claim("b1", "S_IFP separates right from wrong", "AUC of S_IFP for wrong, 50/50", s_ifp_separates, null=0.5,
          by_correctness=True),
    Claim("b2", "S_IFP separates right from wrong", "raw flow, wrong to right, 50/50", flow_ratio, shown="ratio",
          published="1.36", by_correctness=True),
    Claim("b3", "S_IFP says more than confidence", "partial rank correlation with error given NLL, length, steps",
          s_ifp_beyond_confidence, by_correctness=True),
    Claim("c1", "single tokens accumulate", "largest share of c_j, times that of a random split", concentration,
          null=1.0),
    Claim("c2", "the located vector depends on the question", "share of pairs of questions that locate other vectors",
          locations_differ, null=0.5),
    Claim("d", "the prompt acts most in layers 2–10 of 32", "influence there (scaled by depth) to that elsewhere",
          strongest_layers, shown="ratio"),
    replace(_gain("e", "DPC improves on prompt tuning", "prompt_tuning", "prompt tuning"), published="1.4 to 8.7"),
    _gain("f1", "the trigger helps", "always", "corruption without trigger"),
    _gain("f2", "the trigger helps", "random_trigger", "random trigger at DPC's rate"),
    _gain("f3", "the located token matters", "random_token", "random token where DPC fires"),
    _gain("f4", "trigger and token help", "random_corruption", "random corruption at DPC's rate"),
    _gain("g", "DPC beats ACT", "act", "ACT"),
    Claim("h", "the flow falls after corruption", "flow before corruption to flow after it, fired questions", flow_fell,
          shown="ratio"),
    Claim("i1", "a prompt that is text answers worse", "accuracy of prompt tuning − its nearest tokens, points",
          gain(readability.PROJECTED, "prompt_tuning"), shown="points"),
)  # fmt: skip
SCRUTABILITY = Claim(
    "i2", "the better a prompt answers, the less it is text",
    "Spearman over prompts, NLL of nearest tokens and accuracy", lambda cell: Unjudged("compares prompts"),
    published="SST-2: .81 to .50",
)  # fmt: skip
"""Compares the prompts of all recipes, not the questions of a cell: `judge_prompts` measures it."""
ALL_RECIPES = "all"
COLUMNS = [
    "claim", "says", "test", "value", "low", "high", "seed_low", "seed_high", "p", "p_holm", "positives", "questions",
    "detectable", "published", "verdict", "reason",
]  # fmt: skip


def judge_all(cells: dict[tuple[str, ...], Cell], claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """Return one row per cell and claim: columns model, dataset, recipe and `COLUMNS`.

    Holm corrects a claim's p over the cells. Values of claims shown as a ratio are exponentials, gains are in points;
    what is `Unjudged` has no number.
    """
    rows = [row for claim in claims for row in _judged(claim, cells)]
    table = pd.DataFrame(rows, columns=["model", "dataset", "recipe", *COLUMNS])
    place = {cell: number for number, cell in enumerate(cells)}
    order = [place[cell] for cell in table[["model", "dataset", "recipe"]].itertuples(index=False, name=None)]
    return table.iloc[pd.Series(order).argsort(kind="stable")].reset_index(drop=True)


def judge_prompts(prompts: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return one row per model and dataset as `judge_all` does: claim i2, over the prompts of all recipes and seeds.

    `prompts` has a row per prompt, see `readability.prompts`.
    """
    groups = {
        (str(model), str(data)): rows for (model, data), rows in prompts.groupby(["model", "dataset"], sort=False)
    }
    found = {pair: readability.scrutability(rows, confidence) for pair, rows in groups.items()}
    corrected, rows = verdicts.holm([one.p for one in found.values()]), []
    for (pair, one), p in zip(found.items(), corrected, strict=True):
        count = len(groups[pair].dropna(subset=["nll", "accuracy"]))
        judged = verdicts.judge(one, count, p, confidence, unit="prompts")
        about = {name: getattr(SCRUTABILITY, name) for name in ("says", "test", "published")}
        numbers = _numbers(SCRUTABILITY, Found(one, count), p, math.nan) | {"questions": math.nan}
        cell = dict(zip(("model", "dataset", "recipe"), (*pair, ALL_RECIPES), strict=True))
        rows.append({**cell, "claim": SCRUTABILITY.key, **about, **numbers, **vars(judged)})
    return pd.DataFrame(rows, columns=["model", "dataset", "recipe", *COLUMNS])


def _measured(claim: Claim, cell: Cell) -> Found | Unjudged:
    found = claim.measure(cell)
    return NO_READING if isinstance(found, Found) and not found.pooled.questions else found


def _judged(claim: Claim, cells: dict[tuple[str, ...], Cell]) -> list[dict[str, object]]:
    found = {name: _measured(claim, cell) for name, cell in cells.items()}
    ps = [one.pooled.p if isinstance(one, Found) else math.nan for one in found.values()]
    corrected, tests = verdicts.holm(ps), sum(not math.isnan(p) for p in ps)
    rows = []
    for (name, one), p in zip(found.items(), corrected, strict=True):
        row: dict[str, object] = dict(zip(("model", "dataset", "recipe"), name, strict=True))
        row |= {"claim": claim.key, "says": claim.says, "test": claim.test, "published": claim.published}
        if isinstance(one, Unjudged):
            rows.append({**row, "verdict": verdicts.NOT_JUDGED, "reason": one.reason})
            continue
        judged = _verdict(claim, one, p, cells[name])
        reason = "; ".join(filter(None, [judged.reason, one.note]))
        least = power.found_detectable(one.pooled, tests, cells[name].confidence)
        rows.append({**row, **_numbers(claim, one, p, least), "verdict": judged.verdict, "reason": reason})
    return rows


def _verdict(claim: Claim, found: Found, corrected: float, cell: Cell) -> Verdict:
    if claim.by_correctness and is_luck(cell.evidence, cell.chance, cell.confidence):
        return Verdict(verdicts.TOO_LITTLE, "accuracy is not above chance")
    return verdicts.judge(found.pooled, found.positives, corrected, cell.confidence, claim.null)


def _numbers(claim: Claim, found: Found, corrected: float, least: float) -> dict[str, object]:
    scale = {"plain": lambda x: x, "points": lambda x: 100 * x, "ratio": math.exp}[claim.shown]
    made = found.pooled
    values = {name: scale(getattr(made, name)) for name in ("value", "low", "high", "seed_low", "seed_high")}
    return {
        **values, "p": made.p, "p_holm": corrected, "positives": found.positives, "questions": made.questions,
        "detectable": scale(least),
    }  # fmt: skip

"""The tables of the evidence: claims with verdicts, trigger quality, confounds, sensitivity."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from dpc.config.slices import TablesStage
from dpc.report import captions
from dpc.report.captions import DASH
from dpc.report.tables.main_tables import CELL, Table, percent, plain

READINGS = {
    "accumulation": "accumulation (share of c_j*)",
    "accumulation_beyond_zero": "accumulation, position 0 left out",
    "flow_changed": "flow change",
    "s_ifp": "S_IFP",
    "flow_latter": "raw flow p → latter r",
}
TARGETS = {"broken": "the prompt broke it", "wrong": "wrong"}
MEASURES = {
    "base_rate": "of all (%)", "fire_rate": "fires (%)", "at_random": "at random, same rates (%)",
    "precision": "precision (%)", "recall": "recall (%)", "roc_auc": "ROC area", "pr_auc": "PR area",
}  # fmt: skip
_AREAS = ("roc_auc", "pr_auc")
WAYS = {
    "configured": "as configured",
    "abs_mean": "heads: mean of absolute values",
    "sum_abs": "heads: absolute value of the sum",
    "all": "loss: the whole rationale",
    "answer": "loss: the answer alone",
    "gold": "rationale: gold",
}
"""Ways to measure saliency (`dpc/analysis/studies/saliency_variants.py`)."""


def _bracketed(value: Any, low: Any, high: Any, digits: int = 2) -> str:
    """Write `0.68 [0.57, 0.78]`, a dash where there is no value."""
    if math.isnan(captions.real(value)):
        return DASH
    return captions.interval(value, low, high, digits)


def _percents(value: Any, low: Any, high: Any) -> str:
    value, low, high = (100 * captions.real(number) for number in (value, low, high))
    return _bracketed(value, low, high, digits=1)


def claims_table(claims: pd.DataFrame, settings: TablesStage, planned: dict[str, float]) -> Table:
    """Return one row per cell and claim; `planned` gives each dataset's detectable gain, a share."""
    numbers = claims.reset_index(drop=True)
    text = numbers[CELL].astype(str)
    text["claim"] = [f"({key}) {says}" for key, says in zip(numbers["claim"], numbers["says"], strict=True)]
    text["verdict"] = [value or DASH for value in numbers["verdict"]]
    text["test"] = numbers["test"]
    text["value"] = [_bracketed(*row) for row in numbers[["value", "low", "high"]].itertuples(index=False)]
    text["over seeds"] = [_range(*row) for row in numbers[["seed_low", "seed_high"]].itertuples(index=False)]
    text["Holm p"] = [_p(value) for value in numbers["p_holm"]]
    text["detectable"] = [plain(value, 2) for value in numbers["detectable"]]
    text["published"] = [value or DASH for value in numbers["published"]]
    text["why"] = numbers["reason"]
    return Table("claims", "The paper's claims and what was found", numbers, text, _claims_caption(settings, planned))


def _range(low: Any, high: Any) -> str:
    return DASH if math.isnan(captions.real(low)) else f"{captions.number(low)} to {captions.number(high)}"


def _p(value: Any) -> str:
    value = captions.real(value)
    return DASH if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _claims_caption(settings: TablesStage, planned: dict[str, float]) -> str:
    level = captions.level(settings)
    found = ", ".join(f"{name} {100 * gain:.1f}" for name, gain in planned.items() if not math.isnan(gain))
    shows = f"if every seed changed one answer in ten: {found}" if found else "so few seeds or questions support none"
    return (
        "Look for the verdict: it comes from a rule fixed beforehand (docs/claims.md), not from reading the numbers. "
        f"Value: mean over {captions.counted(len(settings.prompt_seeds), 'seed')}, its {level} interval over "
        "questions, conditional on these seeds; over seeds: Student's t interval on the seeds' values, for another "
        "seed. Supported: both lie on the claimed side, with p corrected by Holm over the cells of this table. Too "
        "little data: fewer than 30 questions of the kind a claim is about, or it holds over questions but not yet "
        "over seeds. Detectable: the smallest gain, in points, that would be supported with 80 % probability, over "
        f"questions, Holm and seeds, as much as these vary; {shows}. A dash: not run, or does not apply; for "
        "detectable: one seed, or no answer changed. "
        f"{captions.method(settings)} {captions.run(settings)}"
    )


def trigger_table(quality: pd.DataFrame, settings: TablesStage) -> Table:
    """Return, per cell and target, the trigger's quality on calibration, on test, and the shift."""
    numbers = quality.reset_index(drop=True)
    rows = []
    for (*cell, name, split), here in numbers.groupby([*CELL, "target", "split"], sort=False):
        base = here.iloc[0]
        rows.append(
            {
                **dict(zip(CELL, map(str, cell), strict=True)),
                "target": TARGETS[str(name)],
                "split": {"shift": "test − calibration"}.get(str(split), str(split)),
                "positives / questions": DASH if split == "shift" else f"{base['positives']} / {base['questions']}",
                **{label: _measured(here[here["measure"] == measure].iloc[0]) for measure, label in MEASURES.items()},
            }
        )
    columns = [*CELL, "target", "split", "positives / questions", *MEASURES.values()]
    text = pd.DataFrame(rows, columns=columns)
    return Table("trigger", "Does the trigger pick the right questions?", numbers, text, _trigger_caption(settings))


def _measured(row: pd.Series) -> str:
    if row["note"]:
        return str(row["note"])
    write = _bracketed if row["measure"] in _AREAS else _percents
    return write(row["value"], row["low"], row["high"])


def _trigger_caption(settings: TablesStage) -> str:
    return (
        "Look for precision well above that at random, and ROC areas above 0.5: else the trigger picks no better than "
        "chance. Broken: right without the prompt and wrong with it. Precision: share of fired questions that are of "
        "the kind; recall: share of the kind that fire, at each seed's R, both pooled over seeds. At random, same "
        "rates: the precision of as many questions per seed drawn at random from those that may fire; a seed that "
        "fires more counts more, as in precision. Areas under the ROC and the precision-recall curve rank by the "
        "share of affected tokens the questions that may fire: those without an answer, or too short, are left out. "
        "Positives are different questions; fewer than 30 are too little data. "
        f"{captions.level(settings)} intervals over questions, conditional on the seeds. R was chosen on "
        "calibration, so calibration flatters. "
        f"{captions.method(settings)} {captions.run(settings)}"
    )


def confounds_table(confounds: pd.DataFrame, settings: TablesStage) -> Table:
    """Return, per cell and reading, how it goes with error, alone and given confidence, length and steps."""
    numbers = confounds.reset_index(drop=True)
    text = numbers[CELL].astype(str)
    text["reading"] = numbers["reading"].map(READINGS)
    for column, label in (("raw", "alone"), ("partial", "given NLL, length, steps")):
        rows = numbers[[column, f"{column}_low", f"{column}_high"]].itertuples(index=False)
        text[label] = [_bracketed(*row) for row in rows]
    text["over seeds"] = [_range(*row) for row in numbers[["seed_low", "seed_high"]].itertuples(index=False)]
    text["likelihood ratio p per seed"] = [_ps(value) for value in numbers["likelihood_ratio_p"]]
    firsts = numbers[["first", "first_low", "first_high"]].itertuples(index=False)
    text["first vector located (%)"] = [_percents(*row) for row in firsts]
    text["wrong / questions"] = [f"{w} / {n}" for w, n in zip(numbers["wrong"], numbers["questions"], strict=True)]
    text["note"] = numbers["note"].replace("", DASH)
    return Table("confounds", "Is it only confidence, length or the first position?", numbers, text,
                 _confounds_caption(settings))  # fmt: skip


def _ps(joined: Any) -> str:
    return "; ".join(_p(part) if part else DASH for part in str(joined).split("; "))


def _confounds_caption(settings: TablesStage) -> str:
    return (
        "Look for correlations that stay clear of 0 given the confounds: what vanishes there was only the model's "
        "confidence, the rationale's length or the question's size. Rank correlation (Spearman's) of each reading with "
        "error over the test questions, alone and freed of mean NLL, rationale length in tokens and steps of the gold "
        f"rationale, with {captions.level(settings)} intervals over questions, conditional on the seeds, and a t "
        "interval over seeds. Likelihood ratio: logistic models of error with and without the reading, one p per "
        f"seed. The prompt's first vector stands at {captions.first_vector(settings)}. "
        f"{captions.saliency(settings)} {captions.run(settings)}"
    )


def sensitivity_table(rows: pd.DataFrame, settings: TablesStage) -> Table:
    """Return, per cell, sweep and seed, the configured and the best choice on calibration, each once on test.

    The CSV has every choice of every sweep; `rows` is table `sensitivity` of all cells with a column `seed`.
    """
    numbers = rows.reset_index(drop=True)
    keys = [*CELL, "sweep", "seed", "row", "column"]
    shown = numbers[numbers["configured"].astype(bool) | numbers["best"].astype(bool)]
    wide = shown[shown["split"] == "calibration"].merge(
        shown.loc[shown["split"] == "test", [*keys, "fire_rate", "gain", "known"]], on=keys, suffixes=("", "_test")
    )
    text = wide[CELL].astype(str)
    text["sweep"], text["seed"] = wide["sweep"], wide["seed"].astype(str)
    text["choice"] = [f"{row}, {column}" for row, column in zip(wide["row"], wide["column"], strict=True)]
    text["which"] = [_which(*pair) for pair in zip(wide["configured"], wide["best"], strict=True)]
    text["R"] = [plain(value, 2) if not pd.isna(value) else "never" for value in wide["share"]]
    for split, end in (("calibration", ""), ("test", "_test")):
        text[f"fires, {split} (%)"] = wide[f"fire_rate{end}"].map(percent)
        gains = zip(wide[f"gain{end}"], wide[f"known{end}"], strict=True)
        text[f"gain, {split} (points)"] = [captions.starred(percent(gain), known) for gain, known in gains]
    return Table("sensitivity", "How much hangs on each choice?", numbers, text, _sensitivity_caption(settings))


def _which(configured: bool, best: bool) -> str:
    return " and ".join(name for name, is_it in (("configured", configured), ("best", best)) if is_it)


def _sensitivity_caption(settings: TablesStage) -> str:
    return (
        "Look for gains of the best choice on calibration that do not come again on test: they may have been luck. For "
        "each sweep (threshold: κ and R; deep: deep layers and how flow is cut, R chosen anew; shallow: shallow layers "
        "and receivers; edit: Γ and mask) the configured choice and the one with the largest gain over prompt tuning "
        "on calibration, among those whose answers are all known; both once on test. A star: some answers were not "
        "made; the gain is the rate of firing times the mean over the fired questions whose answer is known. A dash: "
        "answers not made, none of a fired question is known. The CSV has every choice. "
        f"{captions.method(settings)} {captions.run(settings)}"
    )


def variants_table(summary: pd.DataFrame, settings: TablesStage) -> Table:
    """Return, per cell and way to measure saliency, what DPC would do; `summary` is of `saliency_variants`."""
    numbers = summary.reset_index(drop=True)
    is_configured = numbers["variant"] == "configured"
    text = numbers[CELL].astype(str)
    text["saliency measured"] = numbers["variant"].map(WAYS)
    text["R by seed"] = numbers["shares"]
    text["fires (%)"] = _bounded(numbers, "fire_rate", _percents)
    gains = zip(_bounded(numbers, "gain", _percents), numbers["outcomes"], strict=True)
    text["gain (points)"] = [captions.starred(gain, known) for gain, known in gains]
    text["R chosen anew"] = numbers["shares_anew"]
    text["fires at it (%)"] = _bounded(numbers, "fire_rate_anew", _percents)
    for label, name in (("same decision (%)", "same_decision"), ("same vector (%)", "same_vector")):
        text[label] = _bounded(numbers, name, _percents).mask(is_configured, DASH)
    text["rank correlation"] = _bounded(numbers, "rank_correlation", _bracketed).mask(is_configured, DASH)
    is_noted = numbers["note"] != ""
    text["AUC of S_IFP for wrong"] = _bounded(numbers, "auc", _bracketed).mask(is_noted, numbers["note"])
    caption = _variants_caption(numbers, settings)
    return Table("variants", "Does it matter how saliency is measured?", numbers, text, caption)


def _bounded(numbers: pd.DataFrame, name: str, write: Callable[..., str]) -> pd.Series[str]:
    rows = numbers[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False)
    return pd.Series([write(*row) for row in rows], index=numbers.index, dtype=object)


def _variants_caption(numbers: pd.DataFrame, settings: TablesStage) -> str:
    questions = captions.count_range(numbers["questions"].astype(int).tolist())
    return (
        "Look for rows that keep decisions and vectors: where they do not, what DPC does hangs on a choice that the "
        f"paper left open. {questions} calibration questions per cell, the first by hash, are measured once in every "
        "way; each row changes one choice. Gold: the calibration question's gold rationale, teacher-forced, so that "
        "the row reads the flow of that rationale, not of the model's own; it serves this table alone. Right and "
        "wrong are the model's own answers throughout. R by seed (one value: all alike) was chosen for the configured "
        "saliency on all of calibration, which flatters that row's gain: accuracy minus prompt tuning's (a star: "
        "some answers were not made, so it is the rate of firing times the mean over the fired questions whose answer "
        "is known; a dash: under some seed none is). R chosen anew comes from these questions alone, by the same rule "
        "and with the row's own saliency, where the answer under the vector it locates is known for nine in ten of "
        "them (else unknown). Same decision and same vector: as configured, question by question, decisions under the "
        "seeds that have an R. Rank correlation: Spearman's, of the share of affected tokens with the configured one. "
        "AUC: how often S_IFP is larger in a wrong answer than in a right one; fewer than 30 different questions of "
        f"either kind are too little data. {captions.level(settings)} intervals over questions, conditional on the "
        "seeds. As configured: "
        f"{captions.saliency(settings)} {captions.method(settings)} {captions.run(settings)}"
    )

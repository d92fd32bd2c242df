"""Sentences that captions share: which run, which settings, how numbers are written.

A figure's own caption is in `figures/NAME_figure.py`, a table's in `tables/NAME_table.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dpc.config.slices import MeasuredStage, ReportStage, TablesStage
from dpc.tasks import get_task
from dpc.tasks.base import AT_CHANCE

NOT_ESTIMABLE = "not estimable"
DASH = "–"
CUT_SHORT = "Cut short: answers, of all seeds, that ended at max_new_tokens before they were complete."
Band = tuple[int, int]
"""First and last layer, inclusive, counted from 0."""

FINDINGS = {
    "p_change_given_accumulation": "P(flow change | accumulation)",
    "p_change_given_none": "P(flow change | no accumulation)",
    "phi": "φ of accumulation and flow change",
    "fisher": "Fisher's exact test",
    "spearman_accumulation_s_ifp": "Spearman, accumulation and S_IFP",
    "spearman_accumulation_nll": "Spearman, accumulation and mean NLL",
    "spearman_s_ifp_nll": "Spearman, S_IFP and mean NLL",
    "auc_s_ifp": "AUC of S_IFP for wrong answers",
    "auc_flow_latter": "AUC of raw flow for wrong answers",
    "auc_nll": "AUC of mean NLL for wrong answers",
    "share_accumulated": "Share with significant accumulation",
    "share_accumulated_3sd": "Share with accumulation above mean + 3 SD",
    "share_located_at_zero": "Share located at position 0",
    "flow_ratio_wrong_right": "Flow ratio, wrong to right",
    "mean_s_ifp_right": "Mean S_IFP, right",
    "mean_s_ifp_wrong": "Mean S_IFP, wrong",
    "accuracy": "Accuracy under prompt tuning, all test questions",
}

READINGS = {
    "accumulation": "accumulation (share of c_j*)",
    "accumulation_beyond_zero": "accumulation, position 0 left out",
    "flow_changed": "flow change",
    "s_ifp": "S_IFP",
    "flow_latter": "raw flow p → latter r",
}
"""Readings that may go with error."""
SCORES = (("auc_s_ifp", "S_IFP"), ("auc_flow_latter", "raw flow p → latter r"), ("auc_nll", "mean NLL"))
"""Findings that say how well a score tells wrong answers, and the score's name."""


@dataclass(frozen=True)
class Finding:
    """One number of the two analyses; NaN where it could not be estimated."""

    value: float
    low: float
    high: float
    p: float
    n: int | None
    at_chance: bool
    """Whether accuracy is not above chance, so that it is not interpretable."""
    note: str

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)


def real(value: Any) -> float:
    """Return `value` as a float, NaN for null."""
    return math.nan if value is None or pd.isna(value) else float(value)


def finding(findings: pd.DataFrame, name: str) -> Finding:
    """Return the finding called `name`; one that is missing is not estimable."""
    rows = findings[findings["name"] == name]
    if rows.empty:
        return Finding(math.nan, math.nan, math.nan, math.nan, None, False, "not computed")
    row = rows.iloc[0]
    count = None if pd.isna(row["n"]) else int(row["n"])
    note = "" if pd.isna(row["note"]) else str(row["note"])
    return Finding(
        real(row["value"]), real(row["low"]), real(row["high"]), real(row["p"]), count, bool(row["at_chance"]), note
    )


def number(value: Any, digits: int = 2) -> str:
    """Write a number with a true minus sign, or say that it is not estimable."""
    value = real(value)
    return NOT_ESTIMABLE if math.isnan(value) else f"{value:z.{digits}f}".replace("-", "−")


def interval(value: Any, low: Any, high: Any, digits: int = 2) -> str:
    """Write `0.68 [0.57, 0.78]`, without the brackets where there is no interval."""
    text = number(value, digits)
    if text == NOT_ESTIMABLE or math.isnan(real(low)) or math.isnan(real(high)):
        return text
    return f"{text} [{number(low, digits)}, {number(high, digits)}]"


def p_value(p: Any) -> str:
    """Write `p = 0.012`, `p < 0.001` or `p not estimable`."""
    p = real(p)
    if math.isnan(p):
        return f"p {NOT_ESTIMABLE}"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def level(settings: ReportStage) -> str:
    """Return the confidence level: `95 %`."""
    return f"{100 * settings.statistics.confidence:g} %"


def seeds(settings: ReportStage) -> str:
    """Return `prompt seed 0` or `prompt seeds 0, 1, 2`."""
    word = "prompt seed" if len(settings.prompt_seeds) == 1 else "prompt seeds"
    return f"{word} {', '.join(map(str, settings.prompt_seeds))}"


def chance(settings: ReportStage) -> float:
    """Return the accuracy that guessing reaches on the one dataset that is shown."""
    return max(get_task(settings.tasks[name]).CHANCE for name in settings.datasets)


def luck(cells: list[tuple[str, ...]]) -> str:
    """Return a sentence on the cells where right answers may be luck; nothing where there are none."""
    return f"In {'; '.join(', '.join(cell) for cell in cells)}: {AT_CHANCE}. " if cells else ""


def names(values: list[str], one: str) -> str:
    """Return `model a` or `models a, b`."""
    return f"{one if len(values) == 1 else one + 's'} {', '.join(values)}"


def layout(settings: ReportStage) -> str:
    """Return the order of the input. Whether a model's family has a BOS is not known here."""
    return _by_layout(
        settings, {"bos_first": "[BOS if any, prompt, question]", "prompt_first": "[prompt, BOS if any, question]"}
    )


def first_vector(settings: ReportStage) -> str:
    """Return where the prompt's first vector stands."""
    return _by_layout(settings, {"bos_first": "position 1 behind BOS, 0 without one", "prompt_first": "position 0"})


def position_0(settings: ReportStage) -> str:
    """Return the sentence that says when leaving position 0 out leaves nothing out; nothing where it never is so."""
    is_bos = any(settings.layouts[name] == "bos_first" for name in settings.recipes)
    return "Where BOS stands at position 0, no vector does: then nothing is located or left out there. " * is_bos


def _by_layout(settings: ReportStage, words: dict[str, str]) -> str:
    """Return the words for the layout of all recipes shown; where they differ, for each."""
    said = {name: words[settings.layouts[name]] for name in settings.recipes}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return ", ".join(f"{text} ({name})" for name, text in said.items())


def run(settings: ReportStage, *, all_seeds: bool = True) -> str:
    """Return the sentence that says which run is shown."""
    shown = seeds(settings) if all_seeds else f"prompt seed {settings.prompt_seeds[0]}"
    parts = [
        names(settings.models, "model"),
        names(settings.datasets, "dataset"),
        names(settings.recipes, "recipe"),
        shown,
        f"input {layout(settings)}",
    ]
    return f"Study {settings.study}: {'; '.join(parts)}.{cut_note(settings.datasets, settings.cut_from_test)}"


def cut_note(datasets: list[str], cut_from_test: list[str]) -> str:
    """Return the sentence that names the datasets, of those shown, whose splits are all cut from their test rows."""
    cut = [name for name in datasets if name in cut_from_test]
    return f" All splits of {' and '.join(cut)} are cut from its test rows, by hash." if cut else ""


def layer_setting(value: str | list[int], band: Band | None) -> str:
    """Return `2–10`, or the setting itself where the number of layers is not known."""
    if band is not None:
        return f"{band[0]}–{band[1]}" if band[0] < band[1] else f"{band[0]}"
    return value.replace("_", " ") if isinstance(value, str) else f"{value[0]}–{value[1]}"


def layers_named(name: str, band: Band) -> str:
    """Return `deep layers 2–10`, or `deep layer 2` where it is one."""
    return f"{name} layer{'s' * (band[0] < band[1])} {layer_setting('', band)}"


def saliency(settings: MeasuredStage) -> str:
    """Return the sentence that says what saliency is."""
    heads = "mean over heads of absolute values"
    if settings.saliency.head_reduce == "sum_abs":
        heads = "absolute value of the sum over heads"
    span = "whole rationale" if settings.saliency.loss_span == "all" else "answer"
    return f"Saliency |A·∂L/∂A|: {heads}; loss of the model's own tokens over the {span}."


_SAID = {
    *(f"trigger.{name}" for name in ("kappa", "baseline", "granularity", "share", "choose_by", "rule", "min_tokens")),
    "locate.masked_vectors",
}
_CHOSEN_BY = {
    "net": "most answers fixed minus broken",
    "accuracy": "the highest accuracy",
    "youden": "Youden's J against wrong answers",
}
_GAMMA_SCOPES = {
    "others": "the smallest {share} of the other vectors' entries",
    "all": "the smallest {share} of all vectors' entries",
    "located": "the smallest {share} of the located vectors' entries",
    "per_vector": "the smallest {share} of each other vector's entries",
}


def method(settings: TablesStage) -> str:
    """Return the sentences that say, in words, when DPC fires and what it does, as it is set."""
    return f"{_firing(settings)} {_corruption(settings)}{_unusual(settings)}"


def _firing(settings: TablesStage) -> str:
    trigger = settings.trigger
    unit = trigger.granularity
    share = "a share R" if trigger.share == "fitted" else f"a share R = {trigger.share:g}"
    also = ", and its accumulation is significant" * (trigger.rule == "share_and_accumulation")
    usual = "the former half's mean"
    if trigger.baseline == "constant":
        usual = "the mean in former halves of right calibration answers"
    notes = [f"flow: saliency per {unit}, deep layers"]
    if trigger.baseline == "detrend":
        notes.append("each token's flow is first divided by the mean of right calibration answers at its position")
    if trigger.share == "fitted":
        notes.append(f"R: per seed, chosen on calibration for {_CHOSEN_BY[trigger.choose_by]}")
    notes.append(f"never below {counted(trigger.min_tokens, 'token')} or without an answer")
    return (
        f"DPC fires on an answer if more than {share} of the latter half's {unit}s get more flow from the prompt "
        f"than κ = {trigger.kappa:g} times {usual}{also} ({'; '.join(notes)})."
    )


def _corruption(settings: TablesStage) -> str:
    corrupt, count = settings.corrupt, settings.locate.masked_vectors
    located = "the prompt vector" if count == 1 else f"the {count} prompt vectors"
    located += " with most saliency in the shallow layers"
    mask = {
        "scale": f"multiplies {located} by {corrupt.mask_value:g}",
        "vocabulary_mean": f"replaces {located} by the vocabulary's mean embedding",
        "attention": f"hides {located} from attention",
    }[corrupt.mask]
    if corrupt.gamma == 0:
        return f"It {mask} (Γ = 0: nothing else) and answers again."
    least = _GAMMA_SCOPES[corrupt.gamma_scope].format(share=f"Γ = {corrupt.gamma:g} %")
    return f"It {mask}, multiplies {least} by {corrupt.gamma_scale:g} (smallest in absolute value), and answers again."


def _unusual(settings: TablesStage) -> str:
    """Return the sentence that names what is set otherwise than by default and not said in any case."""
    groups = {"flow": settings.flow, "trigger": settings.trigger, "locate": settings.locate}
    changed = [
        f"{group}.{name} {getattr(values, name)}"
        for group, values in groups.items()
        for name, field in type(values).model_fields.items()
        if f"{group}.{name}" not in _SAID and getattr(values, name) != field.default
    ]
    return f" Other than the defaults: {', '.join(changed)}." if changed else ""


def starred(gain: str, known: float) -> str:
    """Mark a gain that is not known for all questions; a dash stays a dash."""
    return f"{gain}*" if known < 1 - 1e-9 and gain != DASH else gain


def counted(number: int, word: str) -> str:
    """Return `1 seed` or `3 seeds`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def count_range(counts: list[int]) -> str:
    """Return `400`, or `380–400` where counts differ between seeds or cells."""
    if not counts:
        return "0"
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low}–{high}"

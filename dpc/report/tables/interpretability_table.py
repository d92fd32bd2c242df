"""Prompts read as text: how far their nearest tokens are, and how likely they are."""

from __future__ import annotations

import math

import pandas as pd

from dpc.analysis.studies import readability
from dpc.config.slices import TablesStage
from dpc.report import wording
from dpc.report.cells import LIGHT, Tables
from dpc.report.exhibits import table
from dpc.report.published import BOOLQ_NLL
from dpc.report.table_text import CELL, Table, bracketed, percent, plain, points
from dpc.report.wording import DASH

KINDS = {
    readability.OWN: "prompt",
    readability.CORRUPTED: "corrupted by DPC",
    readability.INSTRUCTION: "written instruction",
    readability.RANDOM: "random tokens",
}
LONGEST = 60
"""Characters of a text that are shown."""


@table(
    category="1 Main results",
    caption="Each prompt read as its nearest tokens: how far they are, what is lost with them, how likely they are.",
    tables=("interpretability", "outcomes"),
)
def interpretability(tables: Tables, settings: TablesStage) -> Table:
    """Return one row per cell and kind of prompt."""
    outcomes, level = tables.by_cell("outcomes", LIGHT["outcomes"]), settings.statistics.confidence
    made = [
        readability.summary(rows, outcomes[cell], level).assign(**dict(zip(CELL, cell, strict=True)))
        for cell, rows in tables.by_cell("interpretability").items()
    ]
    return build(pd.concat(made, ignore_index=True), settings)


def build(found: pd.DataFrame, settings: TablesStage) -> Table:
    """Return the table of `found`, one `readability.summary` per cell below the other."""
    numbers = found[[*CELL, *(name for name in found if name not in CELL)]].assign(difference=found["lost"].abs())
    text = numbers[CELL].astype(str)
    text["prompt"] = numbers["prompt"].map(KINDS)
    text["as text"] = [_short(each) for each in numbers["text"]]
    text["distance"] = [plain(value, 2) for value in numbers["distance_relative"]]
    text["cosine distance"] = [plain(value, 2) for value in numbers["cosine_distance"]]
    text["KL of outputs"] = [bracketed(*row) for row in _columns(numbers, "output_kl")]
    text["same next token (%)"] = numbers["output_agreement"].map(percent)
    text["accuracy lost as text (points)"] = [points(*row) for row in _columns(numbers, "lost")]
    text["perplexity"] = [perplexity(*row) for row in _columns(numbers, "nll")]
    if numbers["reader_nll"].notna().any():
        text["perplexity, other model"] = [plain(_exp(value), 1) for value in numbers["reader_nll"]]
    text["vectors changed"] = [plain(value, 1) for value in numbers["changed"]]
    return Table("interpretability", "What prompts say", numbers, text, _caption(settings))


def _columns(numbers: pd.DataFrame, name: str) -> list[tuple[float, float, float]]:
    return list(numbers[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False, name=None))


def _short(text: str) -> str:
    shown = " ".join(str(text).split()) or DASH
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def _exp(nll: float) -> float:
    return math.exp(min(nll, 700)) if not math.isnan(nll) else math.nan


def perplexity(nll: float, low: float, high: float) -> str:
    """Write e to the power of a mean NLL, and of the lowest and highest of its prompts where they differ."""
    value, least, most = (wording.real(_exp(each)) for each in (nll, low, high))
    if math.isnan(value):
        return DASH
    return f"{value:,.0f}" if low == high else f"{value:,.0f} ({least:,.0f} to {most:,.0f})"


def _caption(settings: TablesStage) -> str:
    known = "; ".join(f"{n} tokens {', '.join(f'{nll:.2f}' for nll in nlls)}" for n, nlls in BOOLQ_NLL.items())
    return (
        "A vector is read as the token whose embedding is nearest. Look whether the prompt is nearer to its text than "
        "tokens are to each other (distance below 1: squared, in medians of a token's distance to the next token), and "
        "whether that text answers as well: accuracy lost is prompt tuning's minus that under the nearest tokens' "
        "embeddings, paired by question and seed (a dash: plan projected did not run). KL of outputs: mean divergence, "
        "in nats, of next-token distributions on the model's own answers; same next token: how often the likeliest "
        f"stays. Brackets: {wording.level(settings)} intervals over questions, conditional on the seeds. Perplexity: "
        "of the text under the task's model, geometric mean, lowest to highest. Corrupted by DPC: the prompt under the "
        "edits that calibration questions ask for, each counted as often, the commonest shown; vectors changed have "
        "another nearest token. Nearest tokens of a soft prompt can be arbitrary: where their perplexity is that of "
        "random tokens and the text answers otherwise than the prompt, it says nothing about what the prompt does. "
        f"Published mean NLL on BoolQ, natural, soft, PEZ: {known}. {wording.run(settings)}"
    )

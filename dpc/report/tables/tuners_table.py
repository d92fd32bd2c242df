"""How the prompts of all recipes compare: accuracy, cost, and what Dynamic Prompt Corruption adds."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from dpc.analysis.stats import pooled
from dpc.analysis.studies.readability import OWN
from dpc.config.declared import declared
from dpc.config.slices import ReportStage
from dpc.report import wording
from dpc.report.cells import LIGHT, Tables
from dpc.report.exhibits import table
from dpc.report.table_text import CELL, Table, named_cells, percent, plain, points, questions, spans
from dpc.report.tables.by_plan import NEVER
from dpc.report.tables.interpretability_table import perplexity
from dpc.report.wording import DASH

GAINS = {
    "help": ("prompt_tuning", "no_prompt", "correct", "prompt − no prompt (points)"),
    "help_lenient": ("prompt_tuning", "no_prompt", "correct_lenient", "read leniently (points)"),
    "dpc": ("dpc", "prompt_tuning", "correct", "DPC − prompt (points)"),
}
"""Differences of accuracy, as plan, other plan, reading and head: the prompt's own effect, and that of DPC on it."""


@table(
    category="1 Main results",
    caption="Every way to make a prompt: accuracy, what the prompt and DPC change, perplexity, and cost.",
    tables=("outcomes", "prompts", "interpretability"),
    of="recipes",
)
def tuners(tables: Tables, settings: ReportStage) -> Table:
    """Return a row per recipe of a model and dataset."""
    accuracies = tables.accuracies()
    shown = accuracies[accuracies["plan"] == "prompt_tuning"].drop(columns="plan")
    outcomes = tables.by_cell("outcomes", LIGHT["outcomes"])
    read = tables.by_cell("interpretability", ("prompt", "nll"))
    rows = [
        {
            **dict(zip(CELL, cell, strict=True)),
            **_made(made),
            **_gains(outcomes[cell], settings),
            **_nll(read[cell]),
            "never": _is_idle(outcomes[cell]),
        }
        for cell, made in tables.by_cell("prompts").items()
    ]
    return build(pd.DataFrame(rows).merge(shown, on=CELL, validate="one_to_one"), settings)


def tuner_label(name: str) -> str:
    """Return what readers call a tuner, as its file declares it."""
    return str(declared("prompts/tuners", "tuner")[name].values["label"])


def _made(prompts: pd.DataFrame) -> dict[str, Any]:
    """Return how a recipe's prompts were made; of numbers the mean over seeds."""
    numbers = ("vectors", "start_loss", "validation_loss", "passes", "gradients", "tokens")
    means = {name: prompts[name].mean(skipna=False) for name in numbers}
    return {"tuner": prompts["tuner"].iloc[0], "discrete": bool(prompts["text"].notna().all()), **means}


def _nll(read: pd.DataFrame) -> dict[str, float]:
    """Return the mean NLL of the prompts' texts, mean over seeds, and the lowest and highest."""
    own = read.loc[read["prompt"] == OWN, "nll"]
    return {"nll": own.mean(), "nll_low": own.min(), "nll_high": own.max()}


def _is_idle(outcomes: pd.DataFrame) -> bool:
    """Say whether DPC ran and fired on no question under any seed: its answers are the prompt's."""
    own = outcomes[outcomes["plan"] == "dpc"]
    return len(own) > 0 and not own["fired"].any()


def _gains(outcomes: pd.DataFrame, settings: ReportStage) -> dict[str, float]:
    found = dict[str, float]()
    for name, (plan, before, reading, _) in GAINS.items():
        sides = [
            outcomes[outcomes["plan"] == each].set_index(["seed", "problem_id"])[reading] for each in (plan, before)
        ]
        pair = pd.concat(sides, axis=1, join="inner", keys=["after", "before"]).reset_index()
        gain = pooled.gain(
            pair["after"], pair["before"], pair["seed"], pair["problem_id"], settings.statistics.confidence
        )
        found |= {f"{name}_gain": gain.value, f"{name}_low": gain.low, f"{name}_high": gain.high}
    return found


def build(numbers: pd.DataFrame, settings: ReportStage) -> Table:
    """Return the table for readers; `numbers` has a row per recipe."""
    text = named_cells(numbers)
    text["tuner"] = numbers["tuner"].map(tuner_label)
    kinds = zip(numbers["vectors"], numbers["discrete"], strict=True)
    text["prompt"] = [f"{plain(count, 0)} {'tokens' if is_text else 'vectors'}" for count, is_text in kinds]
    text["accuracy (%)"] = numbers["accuracy"].map(percent)
    text[f"{wording.level(settings)} interval"] = spans(numbers, "low", "high")
    text["seeds, lowest to highest"] = spans(numbers, "seed_low", "seed_high")
    for name, (*_, head) in GAINS.items():
        parts = (numbers[f"{name}_{end}"] for end in ("gain", "low", "high"))
        text[head] = [points(*row) for row in zip(*parts, strict=True)]
    text[GAINS["dpc"][-1]] = text[GAINS["dpc"][-1]].mask(numbers["never"], NEVER)
    text["perplexity"] = [perplexity(*row) for row in numbers[["nll", "nll_low", "nll_high"]].to_numpy()]
    text["validation loss"] = numbers["validation_loss"].map(lambda value: plain(value, 3))
    text["at its start"] = numbers["start_loss"].map(lambda value: plain(value, 3))
    for name, head in (
        ("passes", "forward passes"),
        ("gradients", "with a backward pass"),
        ("tokens", "tokens (1,000)"),
    ):
        values = numbers[name] / (1000 if name == "tokens" else 1)
        text[head] = [DASH if math.isnan(value) else f"{value:,.0f}" for value in values]
    return Table("tuners", "Ways to make a prompt", numbers, text, _caption(numbers, settings))


def _caption(numbers: pd.DataFrame, settings: ReportStage) -> str:
    adapted = "; GReaTer and RLPrompt are adaptations (docs/methods.md)" * any(
        name in ("greater", "rlprompt") for name in numbers["tuner"]
    )
    return (
        f"Accuracy in % on {wording.count_range(questions(numbers))} test questions, read strictly, mean over "
        f"{wording.counted(len(settings.prompt_seeds), 'seed')}{adapted}. A model without a prompt was never told the "
        "form of an answer: what the prompt adds stands in both readings; read leniently, the last text that could be "
        f"an answer counts. The {wording.level(settings)} intervals "
        "are over questions, conditional on these seeds, those of differences by pairs of answers. "
        "Perplexity: of the prompt's tokens under the task's model, those nearest to a soft "
        "prompt's vectors, which can be arbitrary; geometric mean over seeds, lowest to highest. Validation loss: nats "
        "per token of gold rationales, of the prompt that is kept and of the "
        "one a search began with. Forward passes: sequences that went through the model while the prompt was made, "
        "read or generated, validation included; means over seeds. A dash: not run, not looked at, or made before "
        "costs were counted. "
        f"{wording.run(settings)}"
    )

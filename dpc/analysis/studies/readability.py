"""What a prompt's text costs: how far it is from the prompt, how likely it is, and how well each answers."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from dpc.analysis.stats import pooled
from dpc.analysis.stats.pooled import FISHER, Pooled, pool

OWN, CORRUPTED, INSTRUCTION, RANDOM = "own", "corrupted", "instruction", "random"
"""The kinds of prompts in table `interpretability`."""
OUTPUTS = ("raw", "centred", "kl", "agreement")
"""What table `interpretability` has of the change of outputs, as `output_...`."""
PROJECTED = "projected"


def prompts(read: pd.DataFrame, outcomes: pd.DataFrame, cell: Iterable[str]) -> pd.DataFrame:
    """Return one row per tuned prompt of a cell: seed, NLL of its text, its accuracy, and its text's if it was run."""
    right = outcomes[outcomes["candidate"] < 0].groupby(["seed", "plan"])["correct"].mean().unstack("plan")
    own = read.loc[read["prompt"] == OWN, ["seed", "nll"]].merge(right.reset_index(), on="seed", validate="one_to_one")
    found = own.reindex(columns=["seed", "nll", "prompt_tuning", PROJECTED]).rename(
        columns={"prompt_tuning": "accuracy", PROJECTED: "accuracy_projected"}
    )
    return found.assign(**dict(zip(("model", "dataset", "recipe"), cell, strict=True)))


def scrutability(tuned: pd.DataFrame, confidence: float) -> Pooled:
    """Return Spearman's correlation over recipes, of each seed, between the NLL of prompts' texts and their accuracy.

    The unit is a prompt: the interval is over recipes given the seeds. Prompts without a text are left out.
    """
    rows = tuned.dropna(subset=["nll", "accuracy"])
    return pool(
        pooled.rank_correlation, rows["seed"], rows["recipe"], rows["nll"], rows["accuracy"],
        confidence=confidence, scale=FISHER,
    )  # fmt: skip


def summary(read: pd.DataFrame, outcomes: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return one row per kind of prompt of a cell, means over seeds; `read` is table `interpretability` with `seed`.

    Outputs and accuracies come with intervals over questions, conditional on the seeds; a negative accuracy lost says
    that the text answers better. Corrupted prompts count with the calibration questions that ask for them.
    """
    return pd.DataFrame([_kind(kind, rows) for kind, rows in _kinds(read)]).merge(
        pd.DataFrame([{"prompt": OWN, **_outputs(read, confidence), **_lost(outcomes, confidence)}]), how="left"
    )


def _kinds(read: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    found = {str(kind): rows for kind, rows in read.groupby("prompt")}
    return [(kind, found[kind]) for kind in (OWN, CORRUPTED, INSTRUCTION, RANDOM) if kind in found]


def _kind(kind: str, rows: pd.DataFrame) -> dict[str, object]:
    weights = rows["questions"].fillna(1).astype(float)
    means = {
        name: float((rows[name] * weights).sum() / weights.sum()) if rows[name].notna().all() else math.nan
        for name in ("changed", "distance", "distance_relative", "cosine_distance", "nll", "reader_nll")
    }
    spread = {"nll_low": rows["nll"].min(), "nll_high": rows["nll"].max()}
    shown = rows["text"].iloc[int(weights.to_numpy().argmax())]  # the commonest; the first where all count once
    return {"prompt": kind, "prompts": len(rows), "text": shown, **means, **spread}


def _outputs(read: pd.DataFrame, confidence: float) -> dict[str, float]:
    names = [f"output_{name}" for name in OUTPUTS]
    own = read.loc[read["prompt"] == OWN, ["seed", "asked", *names]].explode(["asked", *names], ignore_index=True)
    own = own.dropna(subset=["asked"])
    found: dict[str, float] = {}
    for name in names:
        made = pool(pooled.mean, own["seed"], own["asked"], own[name].astype(float), confidence=confidence)
        found |= {name: made.value, f"{name}_low": made.low, f"{name}_high": made.high}
    return found


def _lost(outcomes: pd.DataFrame, confidence: float) -> dict[str, float]:
    """Return accuracy of the prompt minus that of its text, paired by question and seed; nan where it was not run."""
    keys = ["seed", "problem_id"]
    right = {
        name: outcomes[outcomes["plan"] == name].set_index(keys)["correct"].astype(bool)
        for name in ("prompt_tuning", PROJECTED)
    }
    if right[PROJECTED].empty:
        return dict.fromkeys(("lost", "lost_low", "lost_high"), math.nan)
    both = pd.concat(right, axis=1, join="inner").reset_index()
    made = pooled.gain(both["prompt_tuning"], both[PROJECTED], both["seed"], both["problem_id"], confidence)
    return {"lost": made.value, "lost_low": made.low, "lost_high": made.high}

"""What a prompt is, says and has cost, and what its tuner tried: tables from files that `tune_prompt` wrote.

They are tables of their own, so that studies whose prompts were tuned before there were such tables tune none again.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.config.slices import DescribePromptStage
from dpc.config.stages import stage
from dpc.storage import adapter_files, tables
from dpc.storage.columns import SCHEMAS
from dpc.storage.provenance import provenance

STAGE = stage(version=1)


def run(
    settings: DescribePromptStage, *, weights: Path, adapter: Path, history: Path, prompts: Path, search: Path
) -> None:
    """Write tables `prompts`, one row, and `search`, a row for each prompt that was tried."""
    said = adapter_files.tokens(weights)
    looks, footer = tables.read(history, "training"), tables.provenance(history)
    told = footer["settings"]
    row = {
        "tuner": told["recipe"]["tuner"],
        "order": told["layout"],
        "vectors": adapter_files.length(adapter.parent),
        "token_ids": list(said.ids) if said else [],
        "text": said.text if said else None,
        **_losses(looks),
        **_spent(footer.get("cost")),
    }
    tables.write(prompts, "prompts", pd.DataFrame([row]), provenance("describe_prompt", settings))
    tried = pd.DataFrame(footer.get("search", []), columns=[name for name in SCHEMAS["search"] if name != "kept"])
    kept = [said is not None and tuple(ids) == said.ids for ids in tried["token_ids"]]
    tables.write(search, "search", tried.assign(kept=kept), provenance("describe_prompt", settings))


def _losses(looks: pd.DataFrame) -> dict[str, Any]:
    """Return how far the tuner went, and its validation losses: at the start, where it looked, and of what it kept."""
    first, kept = looks.iloc[0], looks[looks["kept"]].iloc[-1]
    is_start = first["step"] == 0 and len(looks) > 1
    return {
        "tuned_steps": looks["step"].max(),
        "kept_step": kept["step"],
        "start_loss": first["validation_loss"] if is_start else math.nan,
        "validation_loss": looks.loc[looks["step"] == kept["step"], "validation_loss"].min(),
    }


def _spent(cost: dict[str, Any] | None) -> dict[str, float]:
    is_known = cost is not None and cost["is_known"]
    return {name: float(cost[name]) if cost and is_known else math.nan for name in ("passes", "gradients", "tokens")}

"""Choose a right and a wrong instance whose full saliency maps are kept. Looks at verdicts; feeds figures only."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpc.config.slices import ChooseExemplarsStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.storage import tables
from dpc.storage.hashing import hash_order
from dpc.storage.provenance import provenance

STAGE = stage(version=2)

SHORTEST = 4
"""Rationales below so many tokens have too little to show."""


def run(settings: ChooseExemplarsStage, *, generations: list[Path], verdicts: Path, out: Path) -> None:
    """Write table `chosen`: a right and a wrong test instance of median length, where there are any."""
    made = tables.read(generations, "generations", ["problem_id", "token_ids"])
    graded = tables.read(verdicts, "verdicts").merge(made, on="problem_id", validate="one_to_one")
    found = choose(graded.assign(tokens=graded["token_ids"].map(len)))
    log.info("exemplars: %s", found)
    rows = pd.DataFrame(
        [{"problem_id": key, "role": role} for role, key in found.items()], columns=["problem_id", "role"]
    )
    tables.write(out, "chosen", rows, provenance("choose_exemplars", settings))


def choose(graded: pd.DataFrame) -> dict[str, str]:
    """Return role -> problem_id: of the right and of the wrong, the one nearest their median length; ties by hash.

    `graded` has problem_id, correct and tokens.
    """
    chosen = {}
    for role, correct in (("right", True), ("wrong", False)):
        group = graded[(graded["correct"] == correct) & (graded["tokens"] >= SHORTEST)]
        if len(group):
            distance = (group["tokens"] - group["tokens"].median()).abs()
            chosen[role] = min(group.loc[distance == distance.min(), "problem_id"], key=hash_order)
    return chosen

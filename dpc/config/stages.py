"""What each stage declares, read from the text of its file in `dpc/pipeline/stages`: rule files import no torch.

`STAGE = stage(version=2)` stands at the top of the file. What a stage is told is the type of its `run`'s `settings`,
its flags are the other arguments of `run` (`dpc/pipeline/cli.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dpc.config.declared import declared


@dataclass(frozen=True, kw_only=True)
class stage:
    """Declare a stage: `STAGE = stage(version=1)`, with what its rules ask a scheduler for."""

    version: int
    """Of its result, and part of its rules' `params`: raised, it runs again. `fingerprints.json` records its code."""
    rate: Literal["generate", "saliency", "tune"] | None = None
    """The key of `cluster.rates` that its time goes by, where it may ask for a card."""
    shards: Literal["generate", "saliency"] | None = None
    """The key of `shards` that counts its jobs in a cell; without one there is one job."""
    saves: bool = True
    """Whether a job on a card keeps finished work: others are not warned of their time limit."""
    rules: tuple[str, ...] = ()
    """The rules that run it, where its own name is not the only one."""


DECLARED: dict[str, stage] = {name: stage(**each.values) for name, each in declared("pipeline/stages", "stage").items()}
VERSIONS: dict[str, int] = {name: each.version for name, each in DECLARED.items()}
RULES: dict[str, stage] = {rule: each for name, each in DECLARED.items() for rule in each.rules or (name,)}
"""What each rule's stage declares."""

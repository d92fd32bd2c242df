"""What goes wrong on clusters, planted in a clone: a file `faults/STAGE` makes that stage fail once."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

FOLDER = Path("faults")
MIB = 1 << 20


def drag() -> None:
    """Make every step of the optimiser a second longer."""
    import torch

    step = torch.optim.AdamW.step

    def slowly(self: torch.optim.AdamW, *arguments: object, **options: object) -> object:
        time.sleep(1)
        return step(self, *arguments, **options)

    torch.optim.AdamW.step = slowly  # type: ignore[method-assign, assignment]


def happen(stage: str) -> None:
    """Do what the stage's file says, and take the file away first, so that it happens once."""
    file = FOLDER / stage
    if not file.exists():
        return
    kind = file.read_text()
    file.unlink()
    (FOLDER / f"{stage}.happened").touch()
    if kind == "fail":
        logging.getLogger("dpc").error("error: a planted fault")
        sys.exit(1)
    if kind == "drag":
        drag()
        return
    held = []
    for _ in range(600):
        if kind == "slow" and (FOLDER / "go").exists():
            return
        if kind == "memory":
            held.append(b"x" * (200 * MIB))
        time.sleep(0.5)

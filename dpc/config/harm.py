"""Settings of planted harm, `snakemake validate`."""

from __future__ import annotations

from pydantic import model_validator

from dpc.config.kinds import Count, Name, Positive, Seeds, Settings


class Planting(Settings):
    """How harm is planted: one vector that lets rationales begin well and go wrong."""

    positions: Count = 3
    """Places it is put at, one at a time, drawn for every prompt from those whose own vector it can spare."""
    questions: Count = 100
    """Questions of each split that are answered."""
    steps: Count = 120
    """Of the optimiser."""
    batch_size: Count = 24
    """Questions per step."""
    rate: Positive = 0.1
    """Of Adam, in root mean squares of the prompt's entries."""


class Validation(Settings):
    """Planted harm, `snakemake validate`: is it found where it is known to be?"""

    recipe: Name
    """Recipe of the working prompts that harm is planted in."""
    harmful_recipe: Name | None = None
    """Recipe of prompts that do harm by themselves, or null."""
    choosing_seeds: Seeds = [3, 4, 5]
    """Prompts on which rules of locating are compared, on calibration questions."""
    held_out_seeds: Seeds = [0, 1, 2]
    """Prompts on which the chosen rule is reported, on test questions."""
    planting: Planting = Planting()
    """How harm is planted."""

    @model_validator(mode="after")
    def _held_out(self) -> Validation:
        if both := set(self.choosing_seeds) & set(self.held_out_seeds):
            raise ValueError(f"validation.held_out_seeds: seed {min(both)} is one of choosing_seeds; write another")
        return self

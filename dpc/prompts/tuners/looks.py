"""What a tuner saw on its way: a row of table `training` per look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """One look at the losses while tuning (nats per target token)."""

    step: int
    loss: float
    validation_loss: float
    learning_rate: float

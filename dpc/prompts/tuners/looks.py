"""Looks of a tuner at its losses: one row of table `training` each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """One look at the losses while tuning (nats per target token)."""

    step: int
    loss: float
    validation_loss: float
    learning_rate: float

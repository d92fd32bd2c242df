"""Ways to make a prompt, one file each: `recipes.NAME.tuner` names the file.

A tuner's file has three things: `TUNER = tuner(...)`, a closed model `Settings` of what `recipes.NAME.options` may set
(read without the rest of the file), and a class `Tuning` with the interface below.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from dpc.config.declared import declared

if TYPE_CHECKING:
    from torch import Tensor

    from dpc.prompts.tuners.looks import Look
    from dpc.prompts.tuners.spent import Cost


@dataclass(frozen=True, kw_only=True)
class tuner:
    """Declare a tuner: `TUNER = tuner(label=...)` in a file of its name."""

    label: str
    """Its name for people."""
    per_question: bool = False
    """Whether each question has a prompt of its own."""
    searches: bool = False
    """Whether it looks for tokens (`search.Search`): of a recipe it reads `vectors`, the longest prompt, `layout` and
    `first_tokens`; all else it can be told is in `options`."""
    reads_labels: bool = False
    """Whether its examples have the words that may answer them, where the task has such."""


TUNERS: dict[str, tuner] = {name: tuner(**each.values) for name, each in declared("prompts/tuners", "tuner").items()}
"""By name, read without importing them."""


class Tuning(Protocol):
    """A prompt that is being made: `advance` until it `is_over`; then `kept_ND` is the prompt of step `kept_step`."""

    steps: int
    """Steps at most."""
    step: int
    """Steps done."""
    looks: list[Look]
    """Looks at the losses so far."""
    kept_step: int
    kept_ND: Tensor
    """N x D, float32; of a tuner `per_question` K x M x D, see `dpc.prompts.routing`."""

    @property
    def cost(self) -> Cost:
        """What has gone through the model so far."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do."""

    def advance(self) -> float:
        """Do a step and return its loss."""

    def bring_in(self, prompt_ND: Tensor) -> None:
        """Keep a prompt (N x D, float32) that was tuned elsewhere, and look at its validation loss."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that the steps to come depend on, as tensors and as plain values."""

    def resume(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on where the tuning was that had this `state`."""


def tuning_of(name: str) -> Callable[..., Tuning]:
    """Return what begins a tuning: model, layout, recipe, seed, examples, validation examples, rows at once."""
    return cast("Callable[..., Tuning]", importlib.import_module(f"dpc.prompts.tuners.{name}").Tuning)

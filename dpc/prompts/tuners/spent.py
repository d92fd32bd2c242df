"""What a tuner has spent, whatever it does: so that tuners can be compared at equal cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Cost:
    """Sequences that went through the model, and their tokens.

    A sequence that is generated token by token counts as one pass, as one that is read: both compute each position
    once. A backward pass is no pass of its own, but is counted apart.
    """

    passes: int = 0
    """Sequences, validation included."""
    gradients: int = 0
    """Of these, sequences with a backward pass behind."""
    tokens: int = 0
    """Positions of all sequences; a beginning that the sequences of a batch share counts once."""
    is_known: bool = True
    """Not where a tuning went on from a state that was saved before costs were counted."""

    def add(self, sequences: int, tokens: int, gradient: bool = False) -> None:
        """Count sequences that go through the model together."""
        self.passes, self.tokens = self.passes + sequences, self.tokens + tokens
        self.gradients += sequences * gradient

    def state(self) -> dict[str, Any]:
        """Return what `take_up` needs."""
        return asdict(self)

    def take_up(self, state: Mapping[str, Any] | None) -> None:
        """Go on counting from `state`; None is a state of before costs were counted."""
        vars(self).update(state if state is not None else {"is_known": False})

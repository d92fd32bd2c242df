"""What a plan declares above its function; read from the files of `dpc/plans` without importing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from dpc.config.declared import declared

Function = TypeVar("Function", bound=Callable[..., Any])
Part = Literal["calibration", "test", "oracles"]
KINDS = ("method", "control", "trigger", "corruption", "oracle")
"""In the order in which tables and figures show them."""


@dataclass(frozen=True, kw_only=True)
class plan:
    """Declare a plan: `@plan(label=..., kind=...)` above a function of `Inputs` that returns its rows."""

    label: str
    """Its name in figures and tables."""
    kind: Literal["method", "control", "trigger", "corruption", "oracle"]
    """Where it stands among the plans; only an `oracle` may look at gold: it is an upper bound, and called so."""
    answers: Literal["none", "options", "own", "located", "every_vector", "candidates"] = "own"
    """What it asks for, for the cost: nothing; labels to be scored; one answer a question; some of what `always` asks
    for; one for each vector of a sample of wrong questions; one for each candidate of a sample of calibration
    questions."""
    passes: Literal[1, 2] = 2
    """Generations a question costs: 1 where it is decided without a first rationale."""
    is_drawn: bool = False
    """Whether the questions it fires on are drawn from all that are asked: then others fire where others are asked."""
    needs: tuple[str, ...] = ()
    """The fields of `Inputs` it looks at, beside readings and settings."""
    splits: tuple[Literal["calibration", "test"], ...] = ("test",)
    """Where it is planned; on calibration, thresholds are fitted with it."""
    serves: str | None = None
    """The test plan that is fitted with it: where that one does not run, this one is not planned."""

    def __call__(self, function: Function) -> Function:
        """Return the function unchanged."""
        return function

    @property
    def is_oracle(self) -> bool:
        """Whether it looks at gold."""
        return self.kind == "oracle"

    @property
    def is_triggered(self) -> bool:
        """Whether it fires by what saliency says of the first rationale."""
        return not {"share", "score_limits"}.isdisjoint(self.needs)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return the tables of plans it belongs to."""
        return ("oracles",) if self.is_oracle else self.splits


def _in_order() -> dict[str, plan]:
    found = {name: plan(**each.values) for name, each in declared("plans", "plan").items()}
    return dict(sorted(found.items(), key=lambda item: KINDS.index(item[1].kind)))


PLANS: dict[str, plan] = _in_order()
"""Every plan by name, kind by kind, then in the order of files and lines."""
ONE_PASS = frozenset(name for name, each in PLANS.items() if each.passes == 1)
TRIGGERED = frozenset(name for name, each in PLANS.items() if each.is_triggered)


@cache
def of(part: str) -> dict[str, plan]:
    """Return the plans of a part: calibration, test or oracles."""
    return {name: each for name, each in PLANS.items() if part in each.parts}


def on_calibration(plans: Iterable[str]) -> list[str]:
    """Return the plans of the calibration part of a study that runs `plans`: no work that nobody reads."""
    asked = set(plans)
    return [name for name, each in of("calibration").items() if each.serves is None or each.serves in asked]


def in_order(names: Iterable[str]) -> list[str]:
    """Return each of `names` once, in the order in which tables and figures show plans."""
    return sorted(set(names), key=list(PLANS).index)


def label(name: str) -> str:
    """Return a plan's name for people; one that looks at gold is called an upper bound."""
    return f"{PLANS[name].label}{' (upper bound)' * PLANS[name].is_oracle}"

"""Drafts: the tokens that a row will probably generate, how often drafts were right, and how many tokens to verify.

A pass over R rows costs as much as `Speed.fixed` tokens, for reading the weights and starting the work, and its own
tokens. A row that goes on by one token costs `Speed.single` tokens; a drafted token costs one, said or not. So where
each drafted token is said with probability a, given that those before it were, the k-th one pays as long as
a^k (single + fixed / R) > 1. Both costs are fixed numbers of the model and its device, and a is counted: what is
drafted, and so what bfloat16 makes of near-ties, does not depend on a clock.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from dpc.lm.models import LanguageModel

NGRAM = 3
"""Tokens that are looked up."""
MEMORY = 1000
"""Drafted tokens after which what was counted before them weighs no more than they do."""
WORK = {"cpu": (1e11, 1e10, 3e-4, 4e-6), "cuda": (3e14, 2e12, 1.5e-4, 1e-8)}
"""Operations and bytes of weights per second; seconds for each layer's start, and for each token beside the weights."""


@dataclass(frozen=True)
class Speed:
    """What a pass costs, in tokens of a large pass."""

    fixed: float
    """Whatever its size."""
    single: float
    """A row's only token: attention of one query reads its keys and values for itself alone."""


def speed_of(lm: LanguageModel) -> Speed:
    """Return the costs on the device of `lm`, from its size."""
    weights = sum(p.numel() for p in lm.model.parameters())
    operations, read, start, aside = WORK["cuda" if lm.device.type == "cuda" else "cpu"]
    layers = lm.model.config.num_hidden_layers
    of_pass = start * layers + weights * lm.embedding.weight.element_size() / read
    return Speed(of_pass / (2 * weights / operations + aside * layers), 2.0)


@dataclass
class Counted:
    """How often drafted tokens were said; begins as if `tried` tokens had been."""

    said: float
    tried: float

    def add(self, drafted: int, said: int) -> None:
        """Count a draft of which the first `said` tokens were said; no more is known than the first that was not."""
        scale = min(1.0, MEMORY / self.tried)
        self.said = self.said * scale + said
        self.tried = self.tried * scale + min(said + 1, drafted)

    @property
    def rate(self) -> float:
        """Return the share of tokens that were said, of those that came behind right ones."""
        return min(self.said / self.tried, 0.9999)

    def length(self, worth: float) -> int:
        """Return how many tokens pay for themselves, where one that is said saves `worth`."""
        return max(0, math.ceil(math.log(worth) / -math.log(self.rate)) - 1)

    def expected(self, count: int) -> float:
        """Return how many of `count` drafted tokens are said on average."""
        return self.rate * (1 - self.rate**count) / (1 - self.rate)


@dataclass
class Drafting:
    """How much is drafted in a job, and what came of it."""

    speed: Speed
    going_on: Counted = field(default_factory=lambda: Counted(15, 16))
    """Of rows that have said their draft word for word so far."""
    looked_up: Counted = field(default_factory=lambda: Counted(3, 4))
    """Of rows that have not: their last tokens are looked up in it."""
    passes: int = 0
    row_passes: int = 0
    drafted: int = 0
    accepted: int = 0

    def worth(self, rows: int) -> float:
        """Return what a token costs that is said alone, in a pass of `rows` rows."""
        return self.speed.single + self.speed.fixed / rows

    def ahead(self, lengths: Sequence[int], rows: int) -> int:
        """Return how much to draft for rows that go on word for word while the others of `rows` wait; 0: too little.

        `lengths` are those of what is left of their drafts.
        """
        worth = self.worth(rows)
        count = min(max(lengths, default=0), self.going_on.length(worth))
        gain = sum(1 + self.going_on.expected(min(count, length)) for length in lengths) * worth
        return count if gain > self.speed.fixed + len(lengths) * (1 + count) else 0

    def pays(self, drafts: Collection[Sequence[int]]) -> bool:
        """Return whether a pass with these drafts, padded to the longest, costs less than what it saves."""
        width, worth = max(map(len, drafts)), self.worth(len(drafts))
        gain = sum(self.looked_up.expected(len(draft)) for draft in drafts) * worth
        return gain > len(drafts) * (1 + width - self.speed.single)

    def count(self, drafts: Sequence[Sequence[int]], accepted: Sequence[int], counted: Counted | None = None) -> None:
        """Note a pass: the drafts of its rows, and how much of each was said."""
        self.passes, self.row_passes = self.passes + 1, self.row_passes + len(drafts)
        for draft, said in zip(drafts, accepted, strict=True):
            self.drafted, self.accepted = self.drafted + len(draft), self.accepted + said
            if counted and draft:
                counted.add(len(draft), said)

    def summary(self) -> str:
        """Return one line on what came of the job's passes and drafts."""
        said = self.row_passes + self.accepted
        per_pass = said / max(1, self.row_passes)
        return (
            f"{self.passes} passes behind the prefill, {per_pass:.2f} tokens of a row in one; "
            f"{self.drafted} tokens drafted, {self.accepted} of them said"
        )


class Draft:
    """One row's draft: the tokens that an answer will probably have, the first `sure` of them almost surely."""

    def __init__(self, tokens: Sequence[int], sure: int = 0):
        self.tokens, self.sure = list(tokens), sure
        self.is_followed = True
        self.ends: dict[tuple[int, ...], int] | None = None

    def note(self, said: Sequence[int], before: int) -> None:
        """Take note of what was said since there were `before` tokens."""
        self.is_followed = self.is_followed and list(said[before:]) == self.tokens[before : len(said)]

    def rest(self, said: Sequence[int]) -> list[int]:
        """Return what is left of a draft that has been said word for word so far."""
        return self.tokens[len(said) :] if self.is_followed else []

    def looked_up(self, said: Sequence[int]) -> list[int]:
        """Return what stands in the draft behind the last place where it has the last NGRAM tokens."""
        if self.ends is None:
            self.ends = {tuple(self.tokens[end - NGRAM : end]): end for end in range(NGRAM, len(self.tokens))}
        end = self.ends.get(tuple(said[-NGRAM:]))
        return [] if end is None else self.tokens[end:]

"""A batch while it is generated: rows that have not ended, with the tokens generated so far.

A pass feeds each row its last token, and a draft of what may follow; what the model says behind each of them is the
row's, up to the first that the draft does not hold. Axes: R row of a pass, Q query, K token asked for, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dpc.lm.cache import Past
from dpc.lm.drafts import Counted, Draft, Drafting
from dpc.lm.ending import Ending
from dpc.lm.greedy import next_tokens
from dpc.lm.models import LanguageModel
from dpc.lm.prefill import pieces

Drafts = list[list[int]]


class Running:
    """The rows of a batch: `said[b]` and `drafts[b]` are those of the cache's row b."""

    def __init__(self, lm: LanguageModel, past: Past, columns: int, ending: Ending, tokens: int):
        """New tokens come behind the first `columns`; a pass takes about `tokens` tokens at most."""
        self.lm, self.past, self.columns = lm, past, columns
        self.ending, self.tokens = ending, tokens
        self.said: list[list[int]] = []
        self.drafts: list[Draft] = []
        self.is_drafted = False

    def begin(self, said: Sequence[list[int]], drafts: Sequence[Draft]) -> None:
        """Take over rows in the places behind the others, each with the first token that it has said."""
        start = len(self.said)
        self.said, self.drafts = [*self.said, *said], [*self.drafts, *drafts]
        self.is_drafted = self.is_drafted or any(draft.tokens for draft in drafts)
        self._sort_out([0] * len(said), start)

    def go_on(self, drafting: Drafting, beat: Callable[[], None]) -> None:
        """Let rows go on in one pass, with what is worth drafting; call `beat` behind each piece of a large one."""
        planned, counted = self._planned(drafting)
        others = sorted(set(range(len(self.said))).difference(planned))
        drafts = [planned[b] for b in self._keep(sorted(planned), others)[: len(planned)]]
        before = [len(said) for said in self.said[: len(drafts)]]
        accepted = self._advance(drafts, beat)
        drafting.count(drafts, accepted, counted)
        self._sort_out(before)

    def _planned(self, drafting: Drafting) -> tuple[dict[int, list[int]], Counted | None]:
        """Return the rows of the next pass with their drafts, and where it is counted how much of them was said.

        Rows that have said their draft word for word go on first, as long as that pays; the others wait for them, and
        go on together.
        """
        everyone = range(len(self.said))
        if not self.is_drafted:
            return {b: [] for b in everyone}, None
        rests = {b: rest for b in everyone if (rest := self._fitting(b, self.drafts[b].rest(self.said[b])))}
        if sure := {b: rest for b, rest in rests.items() if len(self.said[b]) < self.drafts[b].sure}:
            return {b: rest[: self.drafts[b].sure - len(self.said[b])] for b, rest in sure.items()}, None
        if count := drafting.ahead([len(rest) for rest in rests.values()], len(everyone)):
            return {b: rest[:count] for b, rest in rests.items()}, drafting.going_on
        if count := drafting.looked_up.length(drafting.worth(len(everyone))):
            found = {b: (rests.get(b) or self._looked_up(b))[:count] for b in everyone}
            if drafting.pays(found.values()):
                return found, drafting.looked_up
        return {b: [] for b in everyone}, None

    def _fitting(self, b: int, draft: list[int]) -> list[int]:
        """Return what of a draft leaves room for the token behind it."""
        return draft[: self.ending.most - len(self.said[b]) - 1]

    def _looked_up(self, b: int) -> list[int]:
        return self._fitting(b, self.drafts[b].looked_up(self.said[b]))

    def _advance(self, drafts: Drafts, beat: Callable[[], None]) -> list[int]:
        """Let the first rows go on, one for each draft; return how many tokens of each draft were said."""
        accepted = []
        for rows in pieces([1 + len(draft) for draft in drafts], self.tokens):
            following = iter(next_tokens(self.lm, self._hidden(rows, drafts[rows])).tolist())
            for said, draft in zip(self.said[rows], drafts[rows], strict=True):
                accepted.append(self._take(said, draft, [next(following) for _ in range(len(draft) + 1)]))
            beat()
        return accepted

    def _hidden(self, rows: slice, drafts: Drafts) -> Tensor:
        """Return the decoder's outputs at each row's last token and at its draft's (K x D)."""
        fed = [[said[-1], *draft] for said, draft in zip(self.said[rows], drafts, strict=True)]
        width = max(map(len, fed))
        ids_RQ = torch.tensor([ids + [self.lm.pad_id] * (width - len(ids)) for ids in fed], device=self.lm.device)
        inputs = self.past.fill(rows, [self.columns + len(said) - 1 for said in self.said[rows]], width)
        hidden_RQD = self.lm.model.get_decoder()(inputs_embeds=self.lm.embedding(ids_RQ), **inputs).last_hidden_state
        if width == 1:
            return hidden_RQD[:, 0]
        return hidden_RQD[[r for r, ids in enumerate(fed) for _ in ids], [q for ids in fed for q in range(len(ids))]]

    def _take(self, said: list[int], draft: Sequence[int], following: Sequence[int]) -> int:
        """Add to `said` what the model says, to its end or to the first token that `draft` does not hold."""
        for count, token in enumerate(following):
            said.append(token)
            is_drafted = count < len(draft) and token == draft[count]
            if not is_drafted or self.ending.after(said):
                return count + is_drafted
        raise AssertionError("the last token is never drafted")

    def _sort_out(self, before: Sequence[int], start: int = 0) -> None:
        """Drop rows that ended in a pass of the rows from `start` on, which had said so many tokens before it."""
        end, ended = start + len(before), []
        for b, count in enumerate(before, start):
            if self.is_drafted:
                self.drafts[b].note(self.said[b], count)
            if self.ending.after(self.said[b]):
                ended.append(b)
                self._trace(b)
        self._keep(sorted(set(range(end)).difference(ended)), range(end, len(self.said)))

    def _trace(self, b: int) -> None:
        if self.past.tracer:
            self.past.tracer.end(b, self.columns, len(self.said[b]))

    def _keep(self, first: Sequence[int], others: Sequence[int]) -> list[int]:
        """Drop all rows but `first` and `others`, and let `first` be the first ones; return which row is where.

        As few rows move as possible.
        """
        order: list[int] = []
        for zone in (first, others):
            places = range(len(order), len(order) + len(zone))
            movers = iter([b for b in zone if b not in places])
            staying = set(zone).intersection(places)
            order += [place if place in staying else next(movers) for place in places]
        if order != list(range(len(self.said))):
            self.past.arrange(order)
            self.said, self.drafts = [self.said[b] for b in order], [self.drafts[b] for b in order]
        return order

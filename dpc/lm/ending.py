"""When a greedy answer ends: an end mark, a stop text, or the longest that it may be."""

from __future__ import annotations

from dpc.lm.models import LanguageModel

STOP_WINDOW = 16
"""Tokens looked at for a stop text while decoding, beside one for each of its bytes."""


class Ending:
    """Whether a row has ended: after an end mark, a stop text, or `most` tokens.

    A stop text is looked for only behind a token that may complete it, and in the last few tokens first.
    """

    def __init__(self, lm: LanguageModel, stop: tuple[str, ...], most: int):
        self.lm, self.stop, self.most, self.end_ids = lm, stop, most, set(lm.end_ids)
        self.last_letters = {text[-1] for text in stop}
        self.window = STOP_WINDOW + max((len(text.encode()) for text in stop), default=0)
        self.may_complete: dict[int, bool] = {}

    def after(self, tokens: list[int]) -> bool:
        """Return whether a rationale ends with the last of `tokens`, not having ended before."""
        if tokens[-1] in self.end_ids or len(tokens) == self.most:
            return True
        return bool(self.stop) and self._completes(tokens[-1]) and self._stops(tokens)

    def _completes(self, token: int) -> bool:
        """Return whether the text of `token` holds the last letter of a stop text, or only part of a letter."""
        if token not in self.may_complete:
            text = self.lm.decode([token, token])  # twice: the first word of a text loses the space before it
            self.may_complete[token] = "\ufffd" in text or not self.last_letters.isdisjoint(text)
        return self.may_complete[token]

    def _stops(self, tokens: list[int]) -> bool:
        """Return whether the text holds a stop text; tokens out of context may read otherwise, so all are read too."""
        near = self.lm.decode(tokens[-self.window :])
        return any(text in near for text in self.stop) and any(text in self.lm.decode(tokens) for text in self.stop)

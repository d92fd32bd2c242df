"""Which tokens a discrete prompt may be made of."""

from __future__ import annotations

import re
from typing import Literal

from dpc.lm.models import LanguageModel
from dpc.lm.tokenizer import words

_PLAIN = re.compile(r"[A-Za-z ]*[A-Za-z][A-Za-z ]*|[., ]")
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
Kind = Literal["plain", "ordinary"]
REPLACED = "�"
"""Stands in a decoded text for bytes that are no character."""


def ordinary(lm: LanguageModel) -> list[int]:
    """Return the tokens that are text: no special, reserved or added one, no piece of a character."""
    known = words(lm.tokenizer, lm.embedding.num_embeddings)
    names = lm.tokenizer.convert_ids_to_tokens(known)
    return [
        i
        for i, name in zip(known, names, strict=True)
        if not _BYTE.fullmatch(name) and REPLACED not in lm.tokenizer.decode([i])
    ]


def allowed(lm: LanguageModel, kind: Kind) -> list[int]:
    """Return the tokens of a kind. `plain` is GReaTer's rule: `.`, `,`, a space, or ASCII letters and spaces alone."""
    tokens = ordinary(lm)
    return tokens if kind == "ordinary" else [i for i in tokens if _PLAIN.fullmatch(lm.tokenizer.decode([i]))]

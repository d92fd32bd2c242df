"""What tokens look like: the text of each generated token, and the words of the vocabulary next to prompt vectors.

Axes: N prompt vector, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.storage import adapter_files, weight_files

Tokenizer = Any
"""Of the library tokenizers, which brings no types."""
NEAREST = 3
"""Tokens named for each prompt vector."""


def pieces(tokenizer: Tokenizer, token_ids: Sequence[int]) -> list[str]:
    """Return the text that each token adds. A letter of several tokens stands with the last one; marks add none."""
    from tokenizers.decoders import DecodeStream

    stream = DecodeStream(skip_special_tokens=True)
    return [stream.step(tokenizer, int(token)) or "" for token in token_ids]


def nearest(tokenizer: Tokenizer, model: Path, prompt: Path) -> list[list[str]]:
    """Return the `NEAREST` tokens of each vector of the adapter in `prompt`, by cosine similarity.

    None for the vectors of a mixture: which of its prompts they are differs from question to question.
    """
    if not adapter_files.is_shared(prompt / adapter_files.WEIGHTS):
        return [[]] * adapter_files.length(prompt)
    prompt_ND = _unit(adapter_files.vectors(prompt))
    known = tokenizer.get_vocab_size()
    likeness_NV = np.concatenate([prompt_ND @ _unit(rows_VD).T for rows_VD in weight_files.embedding(model)], axis=1)
    best_NK = np.argsort(-likeness_NV[:, :known], axis=1, kind="stable")[:, :NEAREST]
    return [[_word(tokenizer, int(token)) for token in row] for row in best_NK]


def _word(tokenizer: Tokenizer, token: int) -> str:
    """Return a token's text, or its entry in the vocabulary where it is a part of a letter, a mark or a space."""
    text = str(tokenizer.decode([token], skip_special_tokens=True))
    return text if text.strip() and "\ufffd" not in text else str(tokenizer.id_to_token(token))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return every row at length 1; a row of zeros stays one."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)

"""The tokenizer of a model folder, as transformers' object around `tokenizer.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpc.config.kinds import Bos
from dpc.storage import tokenizer_files
from dpc.storage.tokenizer_files import PROBE


def load(folder: Path) -> Any:
    """Return the tokenizer in `folder`, which is read as it stands (see `dpc.storage.tokenizer_files`).

    Raises DpcError where a file is missing or cannot be read.
    """
    from transformers import PreTrainedTokenizerFast

    marks = tokenizer_files.marks(folder)
    named = {"bos_token": marks.bos, "eos_token": marks.eos, "pad_token": marks.pad, "unk_token": marks.unk}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_files.words(folder),
        chat_template=marks.chat,
        extra_special_tokens=list(marks.special),
        **named,
    )


def words(tokenizer: Any, rows: int) -> list[int]:
    """Return the ids that stand for text: no special, reserved or added token, nor one beyond an embedding's `rows`.

    Models may have more rows than there are tokens; their marks are named, or only listed as added.
    """
    marks = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return [token for token in range(min(len(tokenizer), rows)) if token not in marks]


def first_id(tokenizer: Any, bos: Bos) -> int | None:
    """Return the id that stands in front of every sequence, by `models.NAME.bos`; None for none."""
    front = tokenizer_files.in_front(lambda special: list(tokenizer.encode(PROBE, add_special_tokens=special)))
    return tokenizer_files.first_id(front, tokenizer.bos_token_id, bos)

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


def first_id(tokenizer: Any, bos: Bos) -> int | None:
    """Return the id that stands in front of every sequence, by `models.NAME.bos`; None for none."""
    front = tokenizer_files.in_front(lambda special: list(tokenizer.encode(PROBE, add_special_tokens=special)))
    return tokenizer_files.first_id(front, tokenizer.bos_token_id, bos)

"""Put questions to one model in a format of its own (D29): instruction, worked examples, chat template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.config.slices import RenderStage
from dpc.errors import DpcError
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.tasks.formats import Message, Shot, render


def run(settings: RenderStage, *, model: Path, problems: Path, tuning: Path, questions: Path) -> None:
    """Write table `questions` with the `prompt_text` that this model reads.

    Worked examples are the first questions of the tuning split with their gold rationales from table `tuning`; no
    prompt is tuned on them, so they are left out. `model` is read for its chat template alone.
    """
    asked, gold = tables.read(problems, "questions"), tables.read(tuning, "gold")
    form = settings.format
    shown = gold.head(form.shots).merge(asked, on="problem_id", validate="one_to_one")
    if len(shown) < form.shots or len(gold) == len(shown):
        raise DpcError(f"found {len(gold)} tuning questions, expected more than the {form.shots} of `shots`; lower it")
    shots: list[Shot] = list(zip(shown["question"], shown["rationale"], strict=True))
    chat = chat_of(model) if form.chat else None
    rest = asked[~asked["problem_id"].isin(shown["problem_id"])]
    texts = pd.Series([render(text, form, shots, chat) for text in rest["question"]], rest.index, dtype=object)
    footer = provenance("render_questions", settings, shots=list(shown["problem_id"]))
    tables.write(questions, "questions", rest.assign(prompt_text=texts), footer)


def chat_of(folder: Path) -> Callable[[list[Message]], str]:
    """Return what turns messages into text by the chat template of the tokenizer in `folder`.

    The mark of a sequence's beginning is left out: where it stands is a matter of the layout. Raises DpcError where
    there is no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise DpcError(f"{folder}: cannot load the tokenizer: {str(error).splitlines()[0]}") from None
    if not tokenizer.chat_template:
        raise DpcError(
            f"{folder}: found no chat template in the tokenizer; write `chat: false` in the format, or a model with one"
        )

    def chat(messages: list[Message]) -> str:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        return text.removeprefix(tokenizer.bos_token or "")

    return chat

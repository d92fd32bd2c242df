"""Put questions to one model in a format of its own (D29): instruction, worked examples, chat template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from dpc.config.kinds import Bos
from dpc.config.messages import first_line
from dpc.config.slices import RenderStage
from dpc.config.stages import stage
from dpc.errors import DpcError
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.tokenizer_files import check_front, first_word
from dpc.tasks.formats import Message, Shot, render

STAGE = stage(version=2)


def run(settings: RenderStage, *, model: Path, problems: Path, tuning: Path, questions: Path) -> None:
    """Write table `questions` with the `prompt_text` that this model reads.

    Worked examples are the first questions of the tuning split with their gold rationales from table `tuning`; no
    prompt is tuned on them, so they are left out. `model` is read for its chat template alone.
    """
    asked, gold = tables.read(problems, "questions"), tables.read(tuning, "gold")
    form = settings.format
    shown = worked_examples(asked, gold, form.shots)
    rest = asked[~asked["problem_id"].isin(shown["problem_id"])]
    footer = provenance(
        "render_questions", settings, model=model if form.chat else None, shots=list(shown["problem_id"])
    )
    texts = rendered(rest["question"], settings, shown, model)
    tables.write(questions, "questions", rest.assign(prompt_text=texts), footer)


def worked_examples(asked: pd.DataFrame, gold: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the first `count` rows of table `gold` of the tuning split, with their questions."""
    shown = gold.head(count).merge(asked, on="problem_id", validate="one_to_one")
    if len(shown) < count or len(gold) == len(shown):
        raise DpcError(f"found {len(gold)} tuning questions, expected more than the {count} of `shots`; lower it")
    return shown


def rendered(questions: pd.Series[str], settings: RenderStage, shown: pd.DataFrame, model: Path) -> pd.Series[str]:
    """Return what the model reads for each question, behind the worked examples `shown`."""
    form = settings.format
    shots: list[Shot] = list(zip(shown["question"], shown["rationale"], strict=True))
    chat = chat_of(model, settings.bos) if form.chat else None
    return pd.Series([render(text, form, shots, chat) for text in questions], questions.index, dtype=object)


def chat_of(folder: Path, bos: Bos) -> Callable[[list[Message]], str]:
    """Return what turns messages into text by the chat template of the tokenizer in `folder`.

    Where a token stands in front of every sequence (`bos`), a template that begins with the same one leaves it to the
    layout; else the text stays as it is. So one beginning is read, and no turn loses its mark. Raises DpcError where
    there is no chat template, it fails, or its beginning would stand behind the prompt.
    """
    from dpc.lm import tokenizer

    words = tokenizer.load(folder)
    if not words.chat_template:
        raise DpcError(
            f"{folder}: found no chat template in the tokenizer; write `chat: false` in the format, or a model with one"
        )
    check_front(folder, bos)
    first = first_word(folder, bos)

    def chat(messages: list[Message]) -> str:
        try:
            text = str(words.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # whatever a template does
            said = first_line(error)
            raise DpcError(f"{folder}: its chat template fails ({said}); write `chat: false` in the format") from None
        return text.removeprefix(first or "")

    return chat

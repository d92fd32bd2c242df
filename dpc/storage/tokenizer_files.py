"""A tokenizer by its files, without torch or transformers: words, special tokens, the token before a text.

`tokenizer.json` is the tokenizer. transformers builds some classes anew from its vocabulary, with a splitting of their
own, and gives a folder without the file a tokenizer of three words; so the file is read as it stands, here and in
`dpc/lm/tokenizer.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from dpc.config.kinds import Bos
from dpc.config.messages import first_line
from dpc.errors import DpcError
from dpc.storage.json_files import Foreign, read_map, typed

FILE, SETTINGS, CHAT = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
MEND = "correct it, or copy or fetch the tokenizer again"
CONVERT = "write the file with `AutoTokenizer.from_pretrained(...).save_pretrained(...)`"
MEND_CHAT = "correct it, or write a format with `chat: false`"
QUESTION = "How many?"
PROBE = "x 0 the"
"""Text to see what a tokenizer puts in front of."""


class _Added(Foreign):
    content: Annotated[str, Field(min_length=1)]


class _Chat(Foreign):
    name: str
    template: str


Word = Annotated[str, Field(min_length=1)] | _Added


class _Settings(Foreign):
    bos_token: Word | None = None
    eos_token: Word | None = None
    pad_token: Word | None = None
    unk_token: Word | None = None
    additional_special_tokens: list[Word] | None = None
    extra_special_tokens: list[Word] | dict[str, Word] | None = None
    chat_template: str | list[_Chat] | None = None


@dataclass(frozen=True)
class Marks:
    """The words with a task of their own, and the chat template."""

    bos: str | None
    eos: str | None
    pad: str | None
    unk: str | None
    special: tuple[str, ...]
    """All others that are no text."""
    chat: str | None


def marks(folder: Path) -> Marks:
    """Return what `tokenizer_config.json`, and files it replaced, say. Raises DpcError where they cannot be read."""
    raw = _settings(folder)
    found = typed(_Settings, raw, folder / SETTINGS, MEND)
    more = found.extra_special_tokens or found.additional_special_tokens or []
    special = more.values() if isinstance(more, dict) else more
    return Marks(
        bos=_text(found.bos_token),
        eos=_text(found.eos_token),
        pad=_text(found.pad_token),
        unk=_text(found.unk_token),
        special=tuple(str(_text(word)) for word in special),
        chat=_chat(folder, found.chat_template),
    )


def _settings(folder: Path) -> dict[str, Any]:
    raw = read_map(folder / SETTINGS, "transformers' tokenizer config") if (folder / SETTINGS).is_file() else {}
    old = folder / "special_tokens_map.json"
    if "added_tokens_decoder" not in raw and old.is_file():
        raw |= read_map(old, "a map of special tokens")
    return raw


def _text(word: str | _Added | None) -> str | None:
    return word.content if isinstance(word, _Added) else word


def _chat(folder: Path, given: str | list[_Chat] | None) -> str | None:
    file = folder / CHAT
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise DpcError(f"{file}: cannot be read ({error}); {MEND}") from None
    if isinstance(given, list):
        return next((chat.template for chat in given if chat.name == "default"), None)
    return given


@cache
def words(folder: Path) -> Any:
    """Return the tokenizer in `folder`, of the library tokenizers: it reads every text whole, and always alike.

    A file keeps what it was trained or last used with: truncation, padding, merges left out by chance. Raises DpcError
    where there is none that reads.
    """
    from tokenizers import Tokenizer

    file = folder / FILE
    if not file.is_file():
        others = sorted(path.name for path in folder.glob("*") if path.name in _OTHERS)
        raise DpcError(f"{folder}: found no {FILE}{', only ' + others[0] if others else ''}; {CONVERT}")
    try:
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if hasattr(tokenizer.model, "dropout"):  # of BPE alone
            tokenizer.model.dropout = None
        is_silent = not tokenizer.encode(PROBE, add_special_tokens=False).ids
    except Exception as error:  # the library raises no narrower one
        said = first_line(error)
        raise DpcError(f"{file}: found no tokenizer ({said}); expected a whole file: copy or fetch it again") from None
    if is_silent:
        raise DpcError(f"{file}: reads nothing in {PROBE!r}; expected a tokenizer of text: {MEND}")
    return tokenizer


_OTHERS = ("tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "tekken.json", "tiktoken.model")


def in_front(encode: Callable[[bool], list[int]]) -> list[int]:
    """Return the ids that a tokenizer puts in front of a text; `encode` gives those of `PROBE`, with marks or bare."""
    bare, whole = encode(False), encode(True)
    starts = (k for k in range(len(whole)) if whole[k : k + len(bare)] == bare)
    return whole[: next(starts, 0)] if bare else []


def first_id(front: list[int], bos_id: int | None, bos: Bos) -> int | None:
    """Return the id that stands in front of every sequence, by `models.NAME.bos`; None for none.

    `front` is what the tokenizer itself puts there, `bos_id` its `bos_token`. Raises DpcError where it cannot be told.
    """
    if bos is False:
        return None
    if bos is True:
        if bos_id is None:
            raise DpcError("models.NAME.bos is true, but the tokenizer has no `bos_token`; write auto or false")
        return bos_id
    if len(front) > 1:
        raise DpcError(f"the tokenizer puts {len(front)} tokens in front, expected one; write models.NAME.bos: true")
    return front[0] if front else None


def first_word(folder: Path, bos: Bos) -> str | None:
    """Return the token in front of every sequence of the model in `folder`; see `first_id`."""
    tokenizer, name = words(folder), marks(folder).bos
    front = in_front(lambda special: list(tokenizer.encode(PROBE, add_special_tokens=special).ids))
    found = first_id(front, None if name is None else tokenizer.token_to_id(name), bos)
    return None if found is None else str(tokenizer.id_to_token(found))


def check(folder: Path, vocabulary: int, ends: list[int], bos: Bos) -> None:
    """Raise DpcError where the tokenizer does not go with a model of so many tokens, whose texts end with `ends`."""
    tokenizer, found = words(folder), marks(folder)
    largest = max(tokenizer.get_vocab(with_added_tokens=False).values(), default=-1)
    if largest >= vocabulary:
        raise DpcError(
            f"{folder / FILE}: has tokens up to {largest}, but the model's weights have {vocabulary}; expected the "
            "model's own tokenizer"
        )
    first = first_word(folder, bos)
    needed = {"bos_token": first, "eos_token": None if ends else found.eos}
    if not ends and found.eos is None:
        raise DpcError(
            f"{folder}: found no end-of-sequence token; write `eos_token_id` into generation_config.json, or "
            f"`eos_token` into {SETTINGS}"
        )
    for key, word in needed.items():
        index = 0 if word is None else tokenizer.token_to_id(word)
        if index is None or index >= vocabulary:
            raise DpcError(f"{folder / SETTINGS}: `{key}` is {word!r}, which the model has no token for; {MEND}")


def check_chat(folder: Path, shots: int) -> None:
    """Raise DpcError unless a chat of one question after so many worked examples can be written by the template."""
    if QUESTION not in _chat_text(folder, shots):
        raise DpcError(f"{folder}: its chat template leaves the question out; {MEND_CHAT}")


def check_front(folder: Path, bos: Bos) -> None:
    """Raise DpcError where a chat's beginning would stand behind the prompt, or twice.

    A mark that a chat of one question has once is its beginning; one that every turn has is none (SmolLM's).
    """
    text, own = _chat_text(folder, 0), marks(folder).bos
    first = first_word(folder, bos)
    rest = text.removeprefix(first or "").lstrip()
    if first and rest.startswith(first):
        raise DpcError(f"{folder}: its chat template begins with {first!r} twice, or behind blank space; {MEND_CHAT}")
    if bos == "auto" and own and rest.startswith(own) and text.count(own) == 1:
        raise DpcError(
            f"{folder}: its chat template begins with {own!r}, which the tokenizer itself puts nowhere, so it would "
            "stand behind the prompt; write models.NAME.bos: true to have it in front of every sequence, or false to "
            "leave it where the template puts it"
        )


def _chat_text(folder: Path, shots: int) -> str:
    """Return a chat of one question after so many worked examples. Raises DpcError where the template fails."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    found = marks(folder)
    given = {"bos_token": found.bos, "eos_token": found.eos, "pad_token": found.pad, "unk_token": found.unk}
    turns = [*[turn for _ in range(shots) for turn in ("user", "assistant")], "user"]
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"raise_exception": _raise, "strftime_now": str}  # any date will do
    try:
        template = environment.from_string(_GENERATION.sub("", found.chat or ""))
        return template.render(
            messages=[{"role": turn, "content": QUESTION} for turn in turns],
            add_generation_prompt=True,
            **{name: word for name, word in given.items() if word is not None},
        )
    except Exception as error:  # whatever a template does
        raise DpcError(f"{folder}: its chat template fails ({first_line(error)}); {MEND_CHAT}") from None


_GENERATION = re.compile(r"{%-?\s*(?:end)?generation\s*-?%}")
"""A tag of transformers' own, which changes no text."""


def _raise(message: str) -> None:
    raise ValueError(message)

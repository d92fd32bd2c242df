"""What stands in front of every sequence: just what the tokenizer puts there, once, as transformers writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, processors

from dpc.config.catalogue import BuiltinModel, Model
from dpc.config.settings import Execution, load_config
from dpc.config.slices import GenerateStage
from dpc.errors import DpcError
from dpc.lm import models
from dpc.lm.layout import layout_of, right_padded
from dpc.pipeline import check
from dpc.pipeline.stages.render_questions import chat_of
from dpc.storage import tokenizer_files
from dpc.storage.provenance import provenance
from tests.support import model_folders
from tests.support.model_folders import INST, SYSTEM, TURNS
from tests.support.workflow import nested, overlay

CPU = Execution(device="cpu")
TEXT = "Tom has 3 shells.\n  He finds <2> more; é"
CHATS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": TEXT}],
    [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "#### 2"},
        {"role": "user", "content": TEXT},
    ],
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Llama with each kind of tokenizer; families differ in nothing that matters here."""
    root = tmp_path_factory.mktemp("bos")
    return {kind: model_folders.write(root / kind, words=kind) for kind in model_folders.WORDS}


def theirs(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


FRONT: dict[str, dict[Any, str | None]] = {
    "llama": {"auto": "<s>", True: "<s>", False: None},
    "llama3": {"auto": "<|begin_of_text|>", True: "<|begin_of_text|>", False: None},
    "mistral": {"auto": "<s>", True: "<s>", False: None},
    "gemma2": {"auto": "<bos>", True: "<bos>", False: None},
    "smollm": {"auto": None, True: "<|im_start|>", False: None},
    "qwen2": {"auto": None, False: None},
}
"""Tokenizer: key `models.NAME.bos`: what stands in front."""


@pytest.mark.parametrize("kind", FRONT)
def test_what_stands_in_front(kind: str, folders: dict[str, Path]) -> None:
    for bos, word in FRONT[kind].items():
        lm = models.load(folders[kind], "float32", CPU, bos=bos)
        assert lm.bos_id == (None if word is None else lm.tokenizer.convert_tokens_to_ids(word))
        assert tokenizer_files.first_word(folders[kind], bos) == word
        assert layout_of(lm, "bos_first").has_bos == (word is not None)


def read(lm: models.LanguageModel, text: str) -> list[int]:
    """Return the ids that the model reads without a prompt, found again in the embeddings."""
    laid = right_padded(lm, layout_of(lm, "bos_first"), None, [lm.encode(text)], [[]])
    return [int((lm.embedding.weight == row).all(1).nonzero()[0]) for row in laid.embeds_BSD[0]]


@pytest.mark.parametrize("kind", model_folders.WORDS)
def test_a_text_is_read_as_the_tokenizer_writes_it(kind: str, folders: dict[str, Path]) -> None:
    lm = models.load(folders[kind], "float32", CPU)
    for text in (TEXT, "", " x", "\n"):
        assert read(lm, text) == theirs(folders[kind])(text).input_ids


@pytest.mark.parametrize("kind", model_folders.WORDS)
@pytest.mark.parametrize("messages", CHATS, ids=["one turn", "three turns"])
def test_a_chat_is_read_as_its_template_writes_it(
    kind: str, messages: list[dict[str, str]], folders: dict[str, Path]
) -> None:
    """Whether the template begins with the mark that the tokenizer adds, with a turn's own, or with none."""
    lm, tokenizer = models.load(folders[kind], "float32", CPU), theirs(folders[kind])
    whole = tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=False)
    assert read(lm, chat_of(folders[kind], "auto")(messages)) == whole
    first = tokenizer.bos_token_id
    if FRONT[kind]["auto"]:
        assert whole.count(first) == 1


@pytest.mark.parametrize("kind", [kind for kind in FRONT if True in FRONT[kind]])
def test_a_mark_that_is_asked_for_is_not_written_twice(kind: str, folders: dict[str, Path]) -> None:
    lm, tokenizer = models.load(folders[kind], "float32", CPU, bos=True), theirs(folders[kind])
    whole = tokenizer.apply_chat_template(CHATS[0], tokenize=True, add_generation_prompt=True, return_dict=False)
    assert read(lm, chat_of(folders[kind], True)(CHATS[0])) == whole


def test_a_mark_that_is_not_wanted_stays_in_a_template_that_writes_it(folders: dict[str, Path]) -> None:
    assert chat_of(folders["llama"], False)(CHATS[0]) == f"<s>[INST] {TEXT} [/INST]"
    assert chat_of(folders["llama"], "auto")(CHATS[0]) == f"[INST] {TEXT} [/INST]"


def processed(folder: Path, post: Any, **settings: Any) -> Path:
    """Give the tokenizer in `folder` another post-processor."""
    model_folders.write_tokenizer(folder, "llama", **settings)
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words.post_processor = post
    words.save(str(folder / "tokenizer.json"))
    return folder


TEMPLATE = processors.TemplateProcessing
SPECIAL = [("<s>", 1), ("</s>", 2), ("<unk>", 0)]
POSTED: dict[str, tuple[Any, dict[str, Any], int | None]] = {
    "mark and end": (TEMPLATE(single="<s> $A </s>", special_tokens=SPECIAL), {}, 1),
    "end alone": (TEMPLATE(single="$A </s>", special_tokens=SPECIAL), {}, None),
    "nothing": (TEMPLATE(single="$A", special_tokens=SPECIAL), {}, None),
    "a mark without a name": (TEMPLATE(single="<unk> $A", special_tokens=SPECIAL), {"bos_token": None}, 0),
    "a mark of another name": (TEMPLATE(single="<unk> $A", special_tokens=SPECIAL), {}, 0),
    "bytes and a mark": (
        processors.Sequence([processors.ByteLevel(), TEMPLATE(single="<s> $A", special_tokens=SPECIAL)]), {}, 1,
    ),
    "bytes alone": (processors.ByteLevel(), {}, None),
    "a word of transformers 4": (TEMPLATE(single="$A", special_tokens=SPECIAL), {"add_bos_token": True}, None),
    "its contrary": (TEMPLATE(single="<s> $A", special_tokens=SPECIAL), {"add_bos_token": False}, 1),
    "of BERT": (processors.BertProcessing(("</s>", 2), ("<s>", 1)), {}, 1),
    "of RoBERTa": (processors.RobertaProcessing(("</s>", 2), ("<s>", 1)), {}, 1),
}  # fmt: skip
"""What follows the words in a tokenizer.json, more keys of tokenizer_config.json, and the id in front."""


@pytest.mark.parametrize("case", POSTED)
def test_the_tokenizers_own_rule_decides(case: str, tmp_path: Path) -> None:
    post, settings, first = POSTED[case]
    folder = processed(model_folders.write(tmp_path / "m"), post, **settings)
    lm = models.load(folder, "float32", CPU)
    assert lm.bos_id == first
    begins = theirs(folder)("x").input_ids[0]
    assert (begins == first) if first is not None else begins == lm.encode("x")[0]


LATER = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
BEHIND = r"begins with '<s>', which the tokenizer itself puts nowhere, so it would stand behind the prompt; write"
TWICE = r"begins with '<s>' twice, or behind blank space; correct it, or write a format with `chat: false`"
OWN: dict[str, tuple[str, str, Any, str | None]] = {
    "the tokenizer adds it too": ("<s> $A", INST, "auto", None),
    "the template alone": ("$A", INST, "auto", BEHIND),
    "the template alone, an end added": ("$A </s>", INST, "auto", BEHIND),
    "the template alone, asked for": ("$A", INST, True, None),
    "the template alone, not wanted": ("$A", INST, False, None),
    "another mark is added": ("<unk> $A", INST, "auto", BEHIND),
    "another mark is added, asked for": ("<unk> $A", INST, True, None),
    "behind a line break": ("$A", "\n" + INST, "auto", BEHIND),
    "behind blank space, added too": ("<s> $A", " \n" + INST, "auto", TWICE),
    "twice": ("<s> $A", "{{ bos_token }}" + INST, "auto", TWICE),
    "twice, asked for": ("$A", "{{ bos_token }}" + INST, True, TWICE),
    "written out": ("$A", INST.replace("{{ bos_token }}", "<s>"), "auto", BEHIND),
    "of every turn": ("$A", TURNS.replace("<|im_start|>", "<s>"), "auto", None),
    "of every turn, behind a system's": ("$A", (SYSTEM + TURNS).replace("<|im_start|>", "<s>"), "auto", None),
    "of every turn, asked for": ("$A", TURNS.replace("<|im_start|>", "<s>"), True, None),
    "none": ("$A", LATER, "auto", None),
    "none, added": ("<s> $A", LATER, "auto", None),
}
"""What the tokenizer adds, the chat template, key `models.NAME.bos`, and what is said where that is refused."""


@pytest.mark.parametrize("case", OWN)
def test_a_chats_own_beginning_stands_in_front_or_is_asked_about(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    added, template, bos, said = OWN[case]
    post = TEMPLATE(single=added, special_tokens=SPECIAL)
    folder = processed(model_folders.write(tmp_path / "m"), post, chat_template=template)
    form = {"formats": {"chat": {"chat": True, "template": "{question}"}}, "models": {"own": {"bos": bos}}}
    chat = overlay(form, nested("datasets.arithmetic.formats", {"own": "chat"}))
    raw = overlay(model_folders.study(folder), chat)
    if said is not None:
        with pytest.raises(DpcError, match=said) as at_check:
            check.check(load_config(raw))
        with pytest.raises(DpcError) as in_job:
            chat_of(folder, bos)
        assert str(at_check.value) == f"models.own: {in_job.value}"
        return
    check.check(load_config(raw))
    lm, first = models.load(folder, "float32", CPU, bos=bos), tokenizer_files.first_word(folder, bos)
    read_ids = lm.encode(chat_of(folder, bos)(CHATS[0]))
    whole = theirs(folder).apply_chat_template(CHATS[0], tokenize=True, add_generation_prompt=True, return_dict=False)
    begins = [] if first is None else [lm.tokenizer.convert_tokens_to_ids(first)]
    assert begins + read_ids == (whole if whole[: len(begins)] == begins else begins + whole)
    if bos is not False and "every turn" not in case:  # never behind the prompt
        assert lm.tokenizer.bos_token_id not in read_ids


def test_what_cannot_be_told_is_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    two = processed(model_folders.write(tmp_path / "m"), TEMPLATE(single="<unk> <s> $A", special_tokens=SPECIAL))
    with pytest.raises(DpcError, match=r"puts 2 tokens in front, expected one; write models\.NAME\.bos: true"):
        models.load(two, "float32", CPU)
    assert models.load(two, "float32", CPU, bos=True).bos_id == 1
    with pytest.raises(DpcError, match=r"models\.NAME\.bos is true, but the tokenizer has no `bos_token`; write auto"):
        models.load(folders["qwen2"], "float32", CPU, bos=True)


def test_footers_say_what_stood_in_front(folders: dict[str, Path]) -> None:
    settings = {"dtype": "float32", "layout": "bos_first", "task": "gsm8k", "max_new_tokens": 1, "stop": []}
    for kind, word in (("llama", "<s>"), ("smollm", None)):
        footer = provenance("generate_base", GenerateStage.model_validate(settings), model=folders[kind])
        assert (footer["bos"], footer["settings"]["bos"]) == (word, "auto")


@pytest.mark.parametrize(("given", "bos"), [({}, True), ({"bos": "auto"}, True), ({"bos": False}, False)])
def test_the_embedded_model_has_the_mark_it_is_trained_with(given: dict[str, Any], bos: bool) -> None:
    assert Model(builtin=BuiltinModel(), **given).bos is bos
    assert Model(path="somewhere").bos == "auto"


@pytest.mark.parametrize(
    ("keys", "is_doubled"),
    [
        ({"template": "<s>{question}"}, True),
        ({"template": "<s> {question}", "formats": {}}, True),
        ({"formats": {"own": "plain_4_shot"}, "template": "<s>{question}"}, False),
        ({"template": "{question}<s>"}, False),
        ({"template": "[INST]{question}"}, False),
    ],
)
def test_a_template_that_begins_with_the_mark_is_refused(
    keys: dict[str, Any], is_doubled: bool, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = overlay(model_folders.study(folders["llama"]), {"datasets": {"arithmetic": keys}})
    if not is_doubled:
        check.check(load_config(raw))
        return
    with pytest.raises(
        DpcError, match=r"datasets\.arithmetic: its text begins with '<s>', which comes first in every sequence"
    ):
        check.check(load_config(raw))
    check.check(load_config(overlay(raw, nested("models.own.bos", False))))


def test_one_sequence_has_one_mark_in_either_order(folders: dict[str, Path]) -> None:
    lm = models.load(folders["llama"], "float32", CPU)
    for order in ("bos_first", "prompt_first"):
        laid = right_padded(lm, layout_of(lm, order), torch.full((3, 16), 9.0), [lm.encode(TEXT)], [[]])
        assert int((laid.embeds_BSD[0] == lm.embedding.weight[1]).all(1).sum()) == 1

"""How a question is put to a model (D29): templates, instruction, worked examples, the tokenizer's chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dpc.config.catalogue import Format
from dpc.config.slices import RenderStage
from dpc.errors import DpcError
from dpc.lm.builtin import tokenizer
from dpc.pipeline.stages import render_questions as stage
from dpc.storage import tables
from dpc.tasks.formats import render

SHOTS = [("1 + 1?", "#### 2"), ("1 + 2?", "#### 3")]
CHAT = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def form(**keys: Any) -> Format:
    return Format(**{"template": "Q: {question}\nA: ", **keys})


def test_a_plain_format_is_its_template() -> None:
    assert render("{x} {question}?", form()) == "Q: {x} {question}?\nA: "


def test_instruction_and_examples_come_first_and_in_order() -> None:
    text = render("2 + 2?", form(instruction="Add.", shots=2), SHOTS)
    assert text == "Add.\n\nQ: 1 + 1?\nA: #### 2\n\nQ: 1 + 2?\nA: #### 3\n\nQ: 2 + 2?\nA: "


def test_a_chat_has_turns_and_the_instruction_in_the_first() -> None:
    turns: list[Any] = []
    render("2 + 2?", form(template="{question}", instruction="Add.", shots=2, chat=True), SHOTS, turns.append)  # type: ignore[arg-type]
    assert [(turn["role"], turn["content"]) for turn in turns[0]] == [
        ("user", "Add.\n\n1 + 1?"), ("assistant", "#### 2"), ("user", "1 + 2?"), ("assistant", "#### 3"),
        ("user", "2 + 2?"),
    ]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five questions, three of them to tune on, and a tokenizer with a chat template."""
    names = list("abcde")
    asked = pd.DataFrame({"problem_id": names, "question": [f"{n}?" for n in names], "source": "here"})
    asked["split"] = ["tuning"] * 3 + ["calibration", "test"]
    tables.write(tmp_path / "problems.parquet", "questions", asked.assign(prompt_text="x"), {})
    gold = pd.DataFrame({"problem_id": names[:3], "answer": "1", "rationale": [f"r{n}" for n in names[:3]], "steps": 1})
    tables.write(tmp_path / "tuning.parquet", "gold", gold, {})
    words = tokenizer()
    words.chat_template = CHAT
    words.save_pretrained(tmp_path / "chatty")
    tokenizer().save_pretrained(tmp_path / "plain")
    return tmp_path


def rendered(folder: Path, model: str = "plain", bos: Any = "auto", **keys: Any) -> pd.DataFrame:
    out = folder / "questions.parquet"
    stage.run(
        RenderStage(format=form(**keys), bos=bos), model=folder / model, problems=folder / "problems.parquet",
        tuning=folder / "tuning.parquet", questions=out,
    )  # fmt: skip
    return tables.read(out, "questions").set_index("problem_id")


def test_no_prompt_is_tuned_on_a_worked_example(folder: Path) -> None:
    table = rendered(folder, shots=2)
    assert list(table.index) == ["c", "d", "e"]
    assert table.loc["e", "prompt_text"] == "Q: a?\nA: ra\n\nQ: b?\nA: rb\n\nQ: e?\nA: "
    assert tables.provenance(folder / "questions.parquet")["shots"] == ["a", "b"]


@pytest.mark.parametrize(("bos", "first"), [(True, ""), (False, "<bos>")])
def test_the_chat_template_is_the_tokenizers_without_what_stands_in_front_anyway(
    folder: Path, bos: Any, first: str
) -> None:
    """This tokenizer puts nothing in front by itself."""
    table = rendered(folder, "chatty", bos, chat=True, template="{question}", instruction="Go.")
    assert table.loc["d", "prompt_text"] == f"{first}<user>Go.\n\nd?</user><assistant>"
    assert tables.provenance(folder / "questions.parquet")["bos"] == ("<bos>" if bos is True else None)


@pytest.mark.parametrize("keys", [{"template": "{question}"}, {"instruction": "Go."}, {"shots": 1}, {"chat": True}])
def test_every_key_of_a_format_changes_what_the_model_reads(folder: Path, keys: dict[str, Any]) -> None:
    changed = rendered(folder, "chatty", bos=True, **keys)
    assert changed.loc["e", "prompt_text"] != rendered(folder).loc["e", "prompt_text"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"chat": True}, "found no chat template in the tokenizer; write `chat: false` in the format, or a model with"),
        ({"chat": True, "model": "chatty"}, r"its chat template begins with '<bos>', which the tokenizer itself"),
        ({"shots": 3}, "found 3 tuning questions, expected more than the 3 of `shots`; lower it"),
    ],
)
def test_what_cannot_be_rendered_is_one_line(folder: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DpcError, match=message) as error:
        rendered(folder, **keys)
    assert "\n" not in str(error.value)

"""Labelled options: rows of BoolQ, SST-2, FOLIO and BBH in their own columns, answers found in texts, refusals."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from dpc.config.catalogue import Recipe
from dpc.config.declared import settings_of
from dpc.config.kinds import OwnTask
from dpc.config.settings import load_config
from dpc.config.told import slice_for
from dpc.errors import DpcError
from dpc.tasks import Task, get_task
from dpc.tasks.dataset import read_splits
from dpc.tasks.rows import parse_rows
from tests.support import config_tree as tree
from tests.support.workflow import nested, overlay

Row = dict[str, Any]
CATALOGUE = load_config(tree.config()).datasets
TEXTS = {"labels": ["A", "B", "C"], "texts": "options", "rationale": "why"}


def task(**options: Any) -> Task:
    return get_task(OwnTask(name="choice", options=options))


def of(name: str) -> Task:
    return get_task(CATALOGUE[name].own_task)


BOOLQ: Row = {"question": "is snow cold", "passage": "Snow is frozen water.", "answer": True}
BBH = "Three birds sit. Which is left?\nOptions:\n(A) owl\n(B) jay\n(C) tit"
ROWS: list[tuple[str, Row, str, str]] = [
    ("boolq", BOOLQ, "Snow is frozen water.\nQuestion: is snow cold?", "yes"),
    ("boolq", {**BOOLQ, "answer": False, "title": "Snow"}, "Snow is frozen water.\nQuestion: is snow cold?", "no"),
    ("sst2", {"idx": 0, "sentence": "a fine film ", "label": 1}, "a fine film", "positive"),
    ("sst2", {"sentence": "dull", "label": 0}, "dull", "negative"),
    ("folio", {"premises": "All owls fly.", "conclusion": "An owl flies.", "label": "True"},
     "All owls fly.\nConclusion: An owl flies.", "True"),
    ("folio", {"premises": "Owls fly.", "conclusion": "An owl flies.", "label": False},
     "Owls fly.\nConclusion: An owl flies.", "False"),
    ("folio", {"premises": "All owls fly.", "conclusion": "I fly.", "label": "Uncertain"},
     "All owls fly.\nConclusion: I fly.", "Uncertain"),
    ("bbh_deduction", {"input": BBH, "target": "(B)"}, BBH, "B"),
    ("bbh_boolean", {"input": "not ( True ) and ( True ) is", "target": "False"}, "not ( True ) and ( True ) is",
     "False"),
    ("bbh_boolean", {"input": "True is", "target": True}, "True is", "True"),  # by its name, not as number 1
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "asked", "label"), ROWS)
def test_rows_are_read_in_their_own_columns(name: str, row: Row, asked: str, label: str) -> None:
    problem = of(name).parse(row)
    assert (problem.question, problem.answer, problem.rationale) == (asked, label, label)


@pytest.mark.parametrize("gold", ["B", "(b)", "jay", 1])
def test_options_of_a_row_stand_below_its_question_and_a_rationale_before_the_answer(gold: object) -> None:
    row = {"question": "Which is blue?", "options": ["owl", "jay", "tit"], "why": "Owls are brown. So", "answer": gold}
    problem = task(**TEXTS).parse(row)
    assert problem.question == "Which is blue?\n(A) owl\n(B) jay\n(C) tit"
    assert (problem.rationale, problem.answer, problem.steps) == ("Owls are brown. So\n#### B", "B", 2)


WORDS = {"labels": ["no", "yes", "not known"]}
TRUTHS = {"labels": ["True", "False", "Uncertain"]}
READINGS: list[tuple[dict[str, Any], str, str | None, str | None, int | None]] = [
    (WORDS, "yes", "yes", "yes", 0),
    (WORDS, " Yes.", "yes", "yes", 0),
    (WORDS, "**No**\nQuestion: is it?\nyes", "no", "no", 0),
    (WORDS, "Not known", "not known", "not known", 0),
    (WORDS, "It is cold.\n#### yes", "yes", "yes", 16),
    (WORDS, "no, wait\n#### yes", "yes", "yes", 13),
    (WORDS, "#### Answer: not known", "not known", "not known", 4),
    (WORDS, "Yes it is cold", None, "yes", None),
    (WORDS, "no one knows; the answer is yes. A no is wrong", None, "yes", None),
    (WORDS, "so it must be no", None, "no", None),
    (WORDS, "nobody, nope, yes-man, eyes", None, None, None),
    (WORDS, "Yes, there is no limit.", None, "yes", None),
    (WORDS, "Yes it is, as no rule forbids it.", None, "yes", None),
    (WORDS, "No. People say yes to all of it.", None, "no", None),
    (WORDS, "No rule forbids it, so yes", None, "yes", None),
    (WORDS, "There are no limits", None, None, None),
    (TRUTHS, "The conclusion is not true.", None, None, None),
    (TRUTHS, "It isn't really true, it cannot be False", None, None, None),
    (TRUTHS, "It is false, not true", None, "False", None),
    (TRUTHS, "Not sure. The answer is not true", None, None, None),
    (TRUTHS, "it is not raining, so it is true that", None, "True", None),
    (WORDS, "", None, None, None),
    (TEXTS, "B", "B", "B", 0),
    (TEXTS, "(C)", "C", "C", 0),
    (TEXTS, "jays are blue\n#### B) jay", "B", "B", 18),
    (TEXTS, "A jay is blue. The answer is (B).", None, "B", None),
    (TEXTS, "A jay is blue, so (B)", None, "B", None),
    (TEXTS, "A jay is blue", None, None, None),
    (TEXTS, "D", None, None, None),
]


@pytest.mark.parametrize(("options", "text", "strict", "lenient", "end"), READINGS)
def test_labels_are_found(
    options: dict[str, Any], text: str, strict: str | None, lenient: str | None, end: int | None
) -> None:
    assert task(**options).extract(text) == (strict, lenient)
    assert task(**options).mark_end(text) == end


def test_a_label_is_right_where_it_is_golds() -> None:
    assert [task(**WORDS).grade(found, "no") for found in ("no", "yes", None)] == [True, False, False]
    with pytest.raises(DpcError, match="gold answer 'maybe' is no option; expected one of no, yes, not known"):
        task(**WORDS).grade("no", "maybe")


def test_guessing_reaches_one_in_as_many_as_there_are_labels() -> None:
    assert [of(name).CHANCE for name in ("boolq", "folio")] == [1 / 2, 1 / 3]


LIST_OF_3 = "expected a list of 3 texts, one for each of options.labels"
PASSAGE = "no field 'passage'; found question, answer"
BAD_ROWS: list[tuple[str | dict[str, Any], Row, str]] = [
    ("boolq", {"question": "is it", "answer": True}, PASSAGE),
    ("boolq", {**BOOLQ, "passage": ""}, "field 'passage' is empty"),
    ("boolq", {**BOOLQ, "passage": None}, "field 'passage' is null"),
    ("boolq", {**BOOLQ, "question": 7}, "field 'question' is the number 7"),
    ("boolq", {**BOOLQ, "question": ["is it"]}, "field 'question' is a list"),
    ("boolq", {**BOOLQ, "answer": None}, "field 'answer' is None; expected one of no, yes, or its number from 0"),
    ("boolq", {**BOOLQ, "answer": "maybe"}, "field 'answer' is 'maybe'; expected one of no, yes"),
    ("boolq", {**BOOLQ, "answer": ""}, "field 'answer' is empty"),
    ("boolq", {**BOOLQ, "answer": 2}, "field 'answer' is 2; expected one of no, yes"),
    ("boolq", {**BOOLQ, "answer": 0.5}, "field 'answer' is 0.5; expected one of no, yes"),
    ("boolq", {**BOOLQ, "answer": ["yes"]}, r"field 'answer' is \['yes'\]; expected one of"),
    ("boolq", {"passage": "Snow.", "question": "is it", "label": 1}, "no field 'answer'; found passage, question, lab"),
    ("sst2", {"sentence": "dull", "label": -1}, "field 'label' is -1; expected one of negative, positive"),
    ("folio", {"premises": ["A."], "conclusion": "B.", "label": "True"}, "field 'premises' is a list"),
    ("folio", {"premises": "A.", "conclusion": "B.", "label": "Unknown"}, "field 'label' is 'Unknown'"),
    ("bbh_deduction", {"input": BBH, "target": "(D)"}, r"field 'target' is '\(D\)'; expected one of A, B, C"),
    (TEXTS, {"question": "?", "options": ["a", "b"], "why": "x", "answer": "A"}, f"'options' has 2 texts; {LIST_OF_3}"),
    (TEXTS, {"question": "?", "options": "a, b, c", "why": "x", "answer": "A"}, f"is text .*; {LIST_OF_3}"),
    (TEXTS, {"question": "?", "options": ["a", 2, "c"], "why": "x", "answer": "A"}, "'options', item 2, is the number"),
    (TEXTS, {"question": "?", "options": ["a", "b", "c"], "answer": "A"}, "no field 'why'"),
    (TEXTS, {"question": "?", "options": ["a", "b", "c"], "why": "x", "answer": "d"}, "field 'answer' is 'd'"),
]


@pytest.mark.parametrize(("told", "row", "message"), BAD_ROWS)
def test_a_row_that_cannot_be_read_is_refused_in_one_line(told: str | dict[str, Any], row: Row, message: str) -> None:
    module = of(told) if isinstance(told, str) else task(**told)
    with pytest.raises(DpcError, match=message) as error:
        module.parse(row)
    assert "\n" not in str(error.value)


LABELS = "`options` of task choice: `labels`"
BAD_OPTIONS: list[tuple[object, str]] = [
    ({}, f"{LABELS} is missing: add it"),
    ({"labels": ["yes"]}, f"{LABELS} is ['yes']: expected 2 or more in it"),
    ({"labels": []}, f"{LABELS} is []: expected 2 or more in it"),
    ({"labels": "no, yes"}, f"{LABELS} is 'no, yes': expected a list"),
    ({"labels": {"no": 0}}, f"{LABELS} is {{'no': 0}}: expected a list"),
    ({"labels": [False, True]}, "`labels[0]` is False: expected text: put it in quotes"),
    ({"labels": [0, 1]}, "`labels[0]` is 0: expected text: put it in quotes"),
    ({"labels": ["no", None]}, "`labels[1]` is empty: expected text: put it in quotes"),
    ({"labels": ["no", ""]}, "label '' is no word; write one that begins and ends in a letter or digit"),
    ({"labels": ["no", "yes "]}, "label 'yes ' is no word"),
    ({"labels": ["(A)", "(B)"]}, "label '(A)' is no word"),
    ({"labels": ["no\nyes", "b"]}, "is no word"),
    ({"labels": ["Yes", "yes"]}, "two labels are the same, capitals aside; write each once"),
    ({"labels": ["no", "y" * 41]}, "expected a value string should have at most 40 characters"),
    ({"labels": ["no", "yes"], "label": "gold"}, "unknown key `label`; did you mean 'labels'?"),
    ({"labels": ["no", "yes"], "question": "Is it?"}, "it names no field; write fields of a row in braces"),
    ({"labels": ["no", "yes"], "question": 3}, "`question` is 3: expected text: put it in quotes"),
    ({"labels": ["no", "yes"], "answer": None}, "`answer` is empty: expected text: put it in quotes"),
    ({"labels": ["no", "yes"], "texts": ["options"]}, "`texts` is ['options']: expected text"),
    ({"labels": ["no", "yes"], "rationale": True}, "`rationale` is True: expected text"),
    (["no", "yes"], "`datasets.own.options` is ['no', 'yes']: expected a map of keys"),
]


NONE = ("calibration", "validation", "act_select", "act_confirm", "tuning")


def config(options: object, **more: Any) -> dict[str, Any]:
    own = {"task": "choice", "options": options, "files": {"test": "x.jsonl"}, "template": "{question} ", **more}
    return overlay(tree.config(), {"datasets": {"own": own}, "study": {"datasets": ["own"]}})


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_a_wrong_option_is_refused_in_one_line(options: object, message: str) -> None:
    with pytest.raises(DpcError) as error:
        load_config(config(options))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_task_that_is_told_nothing_of_its_rows_takes_no_options() -> None:
    with pytest.raises(DpcError, match=r"datasets\.gsm8k: task `gsm8k` is told nothing of its rows: remove `options`"):
        load_config(overlay(tree.config(), nested("datasets.gsm8k.options", {"labels": ["a", "b"]})))


def test_forty_faults_are_tried() -> None:
    assert len(BAD_ROWS) + len(BAD_OPTIONS) + 1 >= 40


def test_what_is_told_of_the_rows_is_part_of_what_reruns_a_stage_and_of_no_other_dataset() -> None:
    read = load_config(config({"labels": ["no", "yes"]}))
    assert '"task":{"name":"choice","options":{"labels":["no","yes"]}}' in slice_for(
        "grade_answers", read, dataset_name="own"
    )
    assert slice_for("grade_answers", read, dataset_name="gsm8k") == '{"task":"gsm8k"}'


def test_a_tuner_that_reads_labels_is_told_them_and_no_other_slice_changes() -> None:
    read, of = load_config(config({"labels": ["no", "yes"]})), {}
    for tuner, dataset in itertools.product(("prompt_tuning", "rlprompt"), ("own", "gsm8k")):
        recipe = Recipe.model_validate({"tuner": tuner})
        about = {"dataset_name": dataset, "model_name": read.study.models[0], "recipe": recipe, "seed": 0}
        of[tuner, dataset] = json.loads(slice_for("tune_prompt", read, **about))
    own = {"name": "choice", "options": {"labels": ["no", "yes"]}}
    assert [(key, told["labelled_task"]) for key, told in of.items() if "labelled_task" in told] == [
        (("rlprompt", "own"), own)
    ]


def test_passes_foretold_count_every_label() -> None:
    of = settings_of("prompts/tuners", "rlprompt").model_validate({"steps": 10, "prompts": 2, "batch_size": 3})
    assert of.passes(5, labels=4) - of.passes(5) == 10 * 2 * 3 * (4 - 1)


def test_a_bad_row_is_named_by_its_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in (BOOLQ, {"question": "is it", "answer": True})))
    with pytest.raises(DpcError, match=rf"rows\.jsonl:2: {PASSAGE}"):
        parse_rows(of("boolq"), file)


def test_a_gold_label_that_its_own_reader_would_not_find_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "is it", "why": "#### no", "answer": "yes"}\n')
    options = {"labels": ["no", "yes"], "rationale": "why"}
    dataset = load_config(config(options)).datasets["own"]
    with pytest.raises(DpcError, match=r"rows\.jsonl:1: gold answer 'yes' is not read from its own rationale"):
        read_splits(dataset.own_task, [], [file], dataset.splits.model_copy(update=dict.fromkeys(NONE, 0)), "own")

"""What enters as a question or an answer enters as it stands, or is refused with file, row, field and what to write."""

from __future__ import annotations

import datetime
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpc.config.messages import first_line
from dpc.errors import DpcError
from dpc.tasks import get_task
from dpc.tasks.fields import number, text_of
from dpc.tasks.rows import parse_rows, read_rows

QUESTION = "Ann has 3 pens and buys 4. How many has she?"
GSM8K = {"question": QUESTION, "answer": "3 + 4 = <<3+4=7>>7\n#### 7"}
GSM8K_COLUMNS = {name: [value] for name, value in GSM8K.items()}
AQUA = {
    "question": "What is 2 + 3?",
    "options": ["A)3", "B)4", "C)5", "D)6", "E)7"],
    "rationale": "2 + 3 = 5",
    "correct": "C",
}
MATH = {"problem": "What is $1 + 1$?", "level": "Level 1", "type": "Algebra", "solution": r"It is $\boxed{2}$."}
ARITHMETIC = {"question": "Tom has 3 shells .", "rationale": "Mon buys 2 = 5 ; #### 5", "answer": "5"}
ROWS = {"gsm8k": GSM8K, "aqua": AQUA, "math": MATH, "arithmetic": ARITHMETIC}
TEXTS = [
    (task, name)
    for task, row in ROWS.items()
    for name in row
    if (task, name) not in {("aqua", "options"), ("math", "level"), ("math", "type")}
]
CHAT = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "7"}]
NO_TEXT = [
    (None, "is null"),
    ("", "is empty"),
    (" \t\n\r\u2003", "is empty"),
    ("\u200b\ufeff", "is empty"),
    (b"", "is empty"),
    (True, "is true;"),
    (False, "is false;"),
    (float("nan"), "is NaN, as an empty cell of a table;"),
    (float("-inf"), "is infinite;"),
    (CHAT, "is a list of chat messages"),
    ([QUESTION], "is a list (['Ann has"),
    ([], "is a list ([])"),
    ({"text": QUESTION}, "is a map ({'text': 'Ann"),
    ({}, "is a map ({})"),
    (datetime.datetime(2024, 5, 1), "is a datetime (datetime.date"),
    (datetime.date(2024, 5, 1), "is a date (datetime.date(2024"),
    (b"caf\xe9", r"is bytes that are no UTF-8 text (b'caf\xe9')"),
    (b"\xff\xfea\x00", "is bytes that are no UTF-8 text"),
    (b"\xed\xa0\xbd", "is bytes that are no UTF-8 text"),
    ("half \ud83d", r"is text with '\ud83d' as character 6, which is half a character"),
    ("\udc00\ud800", r"is text with '\udc00' as character 1, which is half a character"),
    ("a\x00b", r"is text with '\x00' as character 2, which no text holds"),
    (b"a\x00", r"is text with '\x00' as character 2, which no text holds"),
    ("the $\x0crac12$", r"is text with '\x0c' as character 6, which JSON makes of one backslash before f: write two"),
    ("so $\x08oxed{7}$", r"is text with '\x08' as character 5, which JSON makes of one backslash before b: write two"),
    (ValueError("year 99999 is out of range\nmore"), "is a value that cannot be read (year 99999 is out of range)"),
]


def said(task: str, row: dict[str, Any]) -> str:
    """Return what is said of a row that must be refused, in one line."""
    with pytest.raises(DpcError) as error:
        get_task(task).parse(row)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("task", "name"), TEXTS)
def test_what_is_no_text_is_refused_with_its_kind_and_an_example(task: str, name: str) -> None:
    for value, kind in NO_TEXT:
        message = said(task, {**ROWS[task], name: value})
        assert message.startswith(f"field {name!r} {kind}")
        assert "; expected text, such as '" in message


@pytest.mark.parametrize(("task", "name"), [*TEXTS, ("aqua", "options")])
def test_a_field_that_is_absent_is_told_from_an_empty_one(task: str, name: str) -> None:
    row = {key: value for key, value in ROWS[task].items() if key != name}
    assert said(task, row) == f"no field {name!r}; found {', '.join(row)}"


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"\ud83d": 1, "a\nb": 2, "\ufeffquestion": 3, "ü": 4}, r"'\ud83d', 'a\nb', '\ufeffquestion', ü"),
        ({f"c{n}": n for n in range(40)}, "c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11 and 29 more"),
    ],
)
def test_names_of_fields_can_be_printed(row: dict[str, Any], found: str) -> None:
    assert said("gsm8k", row | {"answer": "#### 1"}).startswith(f"no field 'question'; found {found}")


def test_a_long_number_is_marked_as_cut_where_it_is_shown() -> None:
    assert f"is the number 1{'0' * 38}…; expected" in said("gsm8k", {**GSM8K, "question": 10**60})
    assert f"is the number 1{'0' * 39}; expected" in said("gsm8k", {**GSM8K, "question": 10**39})


@pytest.mark.parametrize(("task", "name"), TEXTS)
def test_numbers_are_text_nowhere_but_as_the_answer_of_a_task_of_numbers(task: str, name: str) -> None:
    for value in (72, -1, 0.1, 1e22, Decimal("7.50")):
        if (task, name) == ("gsm8k", "answer"):
            found = get_task(task).parse({**GSM8K, name: value})
            assert (found.rationale, found.steps) == (f"#### {number(value)}", 0)
        elif (task, name) != ("arithmetic", "answer"):
            assert said(task, {**ROWS[task], name: value}).startswith(f"field {name!r} is the number {number(value)}; ")


@pytest.mark.parametrize(
    ("value", "digits"),
    [
        (72, "72"), (-3, "-3"), (0, "0"), (10**30, f"1{'0' * 30}"), (0.1, "0.1"), (72.0, "72.0"),
        (1e22, f"1{'0' * 22}"),
        (2.5e-7, "0.00000025"), (-0.0, "-0.0"), (Decimal("7.50"), "7.50"), (True, None), (float("nan"), None),
        (float("inf"), None), (Decimal("NaN"), None), ("72", None), (None, None), (b"72", None), (1j, None),
    ],
)  # fmt: skip
def test_a_number_is_what_was_written(value: object, digits: str | None) -> None:
    assert number(value) == digits


@given(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
)
def test_the_digits_of_a_number_are_its_value(value: float | int | Decimal) -> None:
    assert Decimal(str(number(value))) == (Decimal(repr(value)) if isinstance(value, float) else value)


@pytest.mark.parametrize(
    ("value", "said_of_it"),
    [
        (5, None), ("5", None), (b"5", None), ("05", None), (5.0, "is '5.0'"), ("five", "is 'five'"), ("-5", "is '-5'"),
        ("5 shells", "is '5 shells'"), ("٥", "is '٥'"), ("", "is empty"), (True, "is true"),
    ],
)  # fmt: skip
def test_the_embedded_task_takes_a_whole_number(value: object, said_of_it: str | None) -> None:
    row = {**ARITHMETIC, "answer": value}
    if said_of_it is None:
        assert int(get_task("arithmetic").parse(row).answer) == 5
    else:
        assert said("arithmetic", row).startswith(f"field 'answer' {said_of_it}")


UNUSUAL = [
    "plain", "naïve café", "日本語で", "😀 ٣ ½", "e\u0301", "a\u2028b", "tab\there", "two\nlines\r\nof it",
    "{question}", "\\frac12", "\x1b[1m", "it's \"so\"", "null", "nan", "True", "\ufeffbom", "a\u200bb", "\x0cPage 2",
]  # fmt: skip


@pytest.mark.parametrize("written", UNUSUAL, ids=lambda text: ascii(text)[:20])
def test_text_stays_as_it_is(written: str) -> None:
    for value in (written, written.encode(), f" {written}\n"):
        assert text_of({"question": value}, "question", "x") == written.strip()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_stays_as_it_is_or_is_refused(written: str) -> None:
    if not written.strip().strip("\u200b\u200c\u200d\u2060\ufeff") or re.search(r"[\x08\x0c][a-z]", written):
        with pytest.raises(DpcError, match=r"is empty|which JSON makes of one backslash"):
            text_of({"q": written}, "q", "x")
    else:
        assert text_of({"q": written}, "q", "x") == text_of({"q": written.encode()}, "q", "x") == written.strip()


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("A)3, B)4, C)5, D)6, E)7", "field 'options' is text ("),
        ('["A)3", "B)4"]', "field 'options' is text ("),
        (b"A)3", "field 'options' is bytes"),
        ({"label": ["A"], "text": ["3"]}, "field 'options' is a map ("),
        (None, "field 'options' is null"),
        (float("nan"), "field 'options' is NaN"),
        (7, "field 'options' is the number 7"),
        ([], "field 'options' is 0 options"),
        (["A)3", "B)4", "C)5", "D)6", "E)7", "F)8"], "field 'options' is 6 options"),
        (["A)3", "B)4", "C)5", "D)6", None], "field 'options', item 5, is null"),
        (["A)3", "", "C)5", "D)6", "E)7"], "field 'options', item 2, is empty"),
        ([3, 4, 5, 6, 7], "field 'options', item 1, is the number 3"),
        ([{"A": "3"}] * 5, "field 'options', item 1, is a map ("),
        (["A)3", b"\xff", "C)5", "D)6", "E)7"], "field 'options', item 2, is bytes that are no UTF-8 text"),
        (["A)3", "B)\ud83d", "C)5", "D)6", "E)7"], r"field 'options', item 2, is text with '\ud83d'"),
        (["3", "4", "5", "6", "7"], "field 'options' has '3' where option A is due"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_options_are_five_texts(options: Any, found: str) -> None:
    message = said("aqua", {**AQUA, "options": options})
    assert message.startswith(found)
    assert "; expected" in message


@pytest.mark.parametrize("letter", ["c", "(C)", "C)", "C.", "**C**", "AC", "F", "3", "C)5"])
def test_the_correct_letter_is_a_letter(letter: str) -> None:
    assert (
        said("aqua", {**AQUA, "correct": letter}) == f"field 'correct' is {letter!r}; expected one letter from A to E"
    )


def test_bytes_are_read_as_utf8_everywhere() -> None:
    coded = {name: [o.encode() for o in v] if isinstance(v, list) else v.encode() for name, v in AQUA.items()}
    assert get_task("aqua").parse(coded) == get_task("aqua").parse(AQUA)
    for task in ("gsm8k", "math", "arithmetic"):
        row = {name: value.encode() for name, value in ROWS[task].items()}
        assert get_task(task).parse(row) == get_task(task).parse(ROWS[task])


# Files: a row that is not read as it was written is refused with its place.

COLUMNS = [
    (pa.array([QUESTION], pa.large_string()), None),
    (pa.array([QUESTION], pa.string_view()), None),
    (pa.array([QUESTION]).dictionary_encode(), None),
    (pa.array([QUESTION.encode()], pa.binary()), None),
    (pa.array([QUESTION.encode()], pa.large_binary()), None),
    (pa.array([QUESTION.encode()], pa.binary(len(QUESTION))), None),
    (pa.array([b"caf\xe9"], pa.binary()), r"bytes that are no UTF-8 text (b'caf\xe9')"),
    (pa.array([b"caf\xe9"], pa.binary()).view(pa.string()), "a value that cannot be read ('utf-8' codec can't decode"),
    (pa.array([None], pa.string()), "null"),
    (pa.nulls(1), "null"),
    (pa.array([float("nan")]), "NaN, as an"),
    (pa.array([72]), "the number 72"),
    (pa.array([Decimal("7.50")]), "the number 7.50"),
    (pa.array([True]), "true;"),
    (pa.array([[QUESTION]]), "a list (["),
    (pa.array([CHAT]), "a list of chat messages"),
    (pa.array([{"text": QUESTION}]), "a map ({"),
    (pa.array([[("text", QUESTION)]], pa.map_(pa.string(), pa.string())), "a list ([("),
    (pa.array([datetime.datetime(2024, 5, 1)]), "a datetime ("),
    (pa.array([datetime.date(2024, 5, 1)]), "a date ("),
    (pa.array([1 << 61], pa.timestamp("us")), "a value that cannot be read ("),
    (pa.array([datetime.timedelta(1)]), "a timedelta ("),
]


@pytest.mark.parametrize(("column", "found"), COLUMNS, ids=lambda value: str(getattr(value, "type", ""))[:40] or None)
def test_a_parquet_column_is_text_or_refused_with_its_row(column: pa.Array, found: str | None, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    good = pa.table({"question": [QUESTION], "answer": ["#### 7"], "unread": column})
    pq.write_table(good, file)
    assert parse_rows(get_task("gsm8k"), file)[0][1].question == QUESTION  # what no task reads is not looked at
    pq.write_table(pa.table({"question": column, "answer": ["#### 7"]}), file)
    if found is None:
        assert parse_rows(get_task("gsm8k"), file)[0][1].question == QUESTION
        return
    with pytest.raises(DpcError) as error:
        parse_rows(get_task("gsm8k"), file)
    assert str(error.value).startswith(f"{file}:1: field 'question' is {found}")


def test_a_folder_named_like_a_key_adds_no_column(tmp_path: Path) -> None:
    file = tmp_path / "answer=7" / "rows.parquet"
    file.parent.mkdir()
    pq.write_table(pa.table({"question": ["?"]}), file)
    assert list(read_rows(file)) == [("rows.parquet:1", {"question": "?"})]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["question", "question"]), file)
    with pytest.raises(
        DpcError, match=r"rows\.parquet: found two columns 'question'; expected one of each name: rename"
    ):
        list(read_rows(file))


def test_what_a_library_says_is_one_line_that_can_be_printed() -> None:
    assert first_line(ValueError("no type: \x0f\nmore")) == r"no type: \x0f"
    assert first_line(ValueError("caf\u00e9 it's")) == "caf\u00e9 it's"
    assert first_line(ValueError()) == "ValueError"


def test_a_page_that_does_not_fit_its_checksum_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table(GSM8K_COLUMNS), file, compression="none", use_dictionary=False, write_page_checksum=True)
    assert len(list(read_rows(file))) == 1
    file.write_bytes(file.read_bytes().replace(b"Ann has 3", b"Ann has 5"))
    with pytest.raises(DpcError, match=r"rows\.parquet: not a whole Parquet file \(.*\); fetch or copy the file again"):
        list(read_rows(file))


LINES = [
    (b'{"question": "a", "question": "b", "answer": "#### 7"}', "not JSON (key 'question' twice)"),
    (b'{"question": "?", "answer": "#### 7", "more": {"\\ud83d": 1, "\\ud83d": 2}}', r"not JSON (key '\ud83d' twice)"),
    (
        b'{"question": "\\ud83d!", "answer": "#### 7"}',
        r"field 'question' is text with '\ud83d' as character 1, which is",
    ),
    (b'{"question": "?", "answer": NaN}', "field 'answer' is NaN"),
    (b'{"question": Infinity, "answer": "#### 7"}', "field 'question' is infinite"),
    (b'{"question": "?", "answer": ' + b"7" * 5000 + b"}", "not JSON (Exceeds the limit (4300 digits)"),
    (b'{"question": 72, "answer": 72}', "field 'question' is the number 72; expected text, such as 'Ann has"),
    (b'{"question": null, "answer": "#### 7"}', "field 'question' is null; expected text, such as 'Ann has"),
    (b'{"question": "", "answer": "#### 7"}', "field 'question' is empty; expected text, such as 'Ann has"),
    (b'{"prompt": "?", "answer": "#### 7"}', "no field 'question'; found prompt, answer"),
    (
        b'{"question": "caf\xe9", "answer": "#### 7"}',
        "cannot be read as UTF-8 text ('utf-8' codec can't decode byte 0xe9",
    ),
    ('{"question": "?"}'.encode("utf-16"), "cannot be read as UTF-8 text ("),
    (b'{"question": "a\tb", "answer": "#### 7"}', "not JSON (Invalid control character"),
    (b'{"question": "?", "answer": "#### 7"', "not JSON (Expecting"),
    (b'{"question": "?"} {"question": "?"}', "not JSON (Extra data"),
    (b"[" * 100_000, "not JSON ("),
    (b'[{"question": "?"}]', "found a JSON list; expected one JSON object per line"),
    (b'"question"', "found a JSON str; expected one JSON object per line"),
    (b"null", "found a JSON NoneType; expected one JSON object per line"),
    (b"question,answer", "not JSON ("),
]


@pytest.mark.parametrize(("line", "found"), LINES, ids=lambda value: str(value[:30]))
def test_a_line_is_refused_with_its_number(line: bytes, found: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = json.dumps(GSM8K).encode()
    file.write_bytes(b"\r\n".join([b"\xef\xbb\xbf" + good, b"", good, line]))
    with pytest.raises(DpcError) as error:
        parse_rows(get_task("gsm8k"), file)
    assert str(error.value).startswith(f"{file}:4: {found}")
    assert "\n" not in str(error.value)


def test_a_pair_of_escapes_is_one_character(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "\\ud83d\\ude00", "answer": "#### 7", "unread": NaN}')
    assert parse_rows(get_task("gsm8k"), file)[0][1].question == "😀"


OWN = [
    ({"prompt": QUESTION, "solution": "#### 7"}, "7"),
    ({"prompt": QUESTION, "solution": 7, "answer": "what the author calls something else"}, "7"),
    ({"prompt": QUESTION, "solution": " 1,080 "}, "1080"),
    (
        {"question": QUESTION, "solution": "#### 7"},
        "no field 'prompt', which `columns` names for 'question'; found que",
    ),
    ({"prompt": QUESTION, "solution": "seven"}, "field 'solution' ends in 'seven'; expected a last line like"),
    ({"prompt": None, "solution": "#### 7"}, "field 'prompt' is null; expected text"),
]


@pytest.mark.parametrize(("row", "found"), OWN, ids=str)
def test_rows_may_call_their_fields_otherwise(row: dict[str, Any], found: str, tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps(row))
    columns = {"question": "prompt", "answer": "solution"}
    if found.replace("0", "").isdigit():
        ((source, problem),) = parse_rows(get_task("gsm8k"), file, columns)
        assert (source, problem.question, problem.answer) == ("own.jsonl:1", QUESTION, found)
        return
    with pytest.raises(DpcError) as error:
        parse_rows(get_task("gsm8k"), file, columns)
    assert str(error.value).startswith(f"{file}:1: {found}")
    assert '; such a row: {"prompt": "Ann has' in str(error.value)


@pytest.mark.parametrize("task", ROWS)
def test_the_row_that_messages_show_is_a_good_one(task: str) -> None:
    module = get_task(task)
    problem = module.parse(module.FACTS.row)
    assert module.extract(problem.rationale)[0] is not None
    assert module.question(module.FACTS.row) == problem.question

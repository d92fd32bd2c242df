"""Datasets of every task with one thing odd about them, drawn by a seed, and the text each of their rows holds."""

from __future__ import annotations

import datetime
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support import config_tree as tree
from tests.support.workflow import nested, overlay

Row = dict[str, Any]
TASKS = ("gsm8k", "aqua", "math")
POOLS = {"train": 14, "test": 5}
SPLITS = {"tuning": 4, "validation": 2, "calibration": 3, "act_select": 2, "act_confirm": 2}
TEXTS = {"gsm8k": ["question", "answer"], "aqua": ["question", "rationale", "correct"], "math": ["problem", "solution"]}
VALUES: list[Any] = [
    None, "", "  \t", "\u200b", True, False, 0, 72, -1.5, 1e300, float("nan"), float("inf"), 10**40, [], {}, ["a"],
    [None], [{"role": "user", "content": "How many?"}], {"text": "How many?"}, "\ud83d", "a\udc00b", "a\x00b",
    "x \x0crac12", "\x08oxed{1}", "naïve 日本 😀 #### 7", " a\u2028b ", "{question} {}", "\\frac12 \\boxed{é}",
    "a\r\nb\tc", "nan", "None", "\ufeffx", "É" * 2000,
]  # fmt: skip
GOLD: dict[str, list[Any]] = {
    "answer": [
        "7", "It is 7.", "#### seven", "####", "#### 8\n#### 7", "a #### b\n#### 7", "######## 7", "#### 7 or 8",
        "#### 1,5", "#### 7/0", "#### 2 1/2", "#### 2 million", "#### 1.5e3", "#### 7 pens", "#### **7**", "#### –7",
        "#### 9{,}500", "#### 3 x 6 = 18", "#### -7", "#### 1,080", "#### $7.50", "#### 7/2", "#### 50%", "#### 7.",
        "#### 1e999999999", f"#### {'9' * 5000}", "#### ٧", "<<1+1=2>>2\n#### 2",
    ],
    "correct": ["c", "(C)", "C)", "F", "AB", "3", " C ", "\tE\n"],
    "rationale": ["so\n#### C", "#### B\nno, C", "########", "#1 is out, ## too"],
    "options": [
        "A)1, B)2", ["A)1"], list("12345"), ["A)1", "B)2", "C)3", "D)4", None], [1, 2, 3, 4, 5], {"A": "1"},
        ["A)1", "C)2", "B)3", "D)4", "E)5"], [" A)1", "B) é", "C)", "D)4 ", "E)5"],
    ],
    "solution": [
        "It is 2.", r"\boxed{}", r"\boxed{\,}", r"\boxed{2", r"$\boxedfoo{2}$", r"\boxed{1} then \boxed{2}",
        r"\fbox{3}", r"\boxed 12", r"\boxed{\text{é}}", "\\boxed{1}\n#### 2",
    ],
}  # fmt: skip
LINES: dict[str, Callable[[bytes], bytes]] = {
    "half a line": lambda line: line[: len(line) // 2],
    "a stray byte": lambda line: line[:-3] + b"\xff" + line[-3:],
    "Latin-1": lambda line: line.replace(b'": "', b'": "caf\xe9 ', 1),
    "a key twice": lambda line: line[:-1] + b', "question": "another", "problem": "another"}',
    "a list": lambda line: b"[" + line + b"]",
    "two objects": lambda line: line + line,
    "5,000 digits": lambda line: line[:-1] + b', "n": ' + b"9" * 5000 + b"}",
    "brackets without end": lambda line: b"[" * 50_000,
    "no JSON": lambda line: b"question,answer",
    "UTF-16": lambda line: line.decode().encode("utf-16"),
    "NULs": lambda line: b"\x00" * 12,
    "a BOM": lambda line: b"\xef\xbb\xbf" + line,
    "CRLF": lambda line: line + b"\r",
}
COLUMNS: dict[str, Callable[[list[str]], pa.Array]] = {
    "large_string": lambda texts: pa.array(texts, pa.large_string()),
    "string_view": lambda texts: pa.array(texts, pa.string_view()),
    "dictionary": lambda texts: pa.array(texts).dictionary_encode(),
    "bytes": lambda texts: pa.array([text.encode() for text in texts]),
    "UTF-16": lambda texts: pa.array([text.encode("utf-16") for text in texts], pa.large_binary()),
    "Latin-1": lambda texts: pa.array([text.encode() + b"\xe9" for text in texts], pa.binary()).view(pa.string()),
    "a null among texts": lambda texts: pa.array([*texts[:-1], None]),
    "nulls": lambda texts: pa.nulls(len(texts)),
    "numbers": lambda texts: pa.array(range(len(texts))),
    "NaN": lambda texts: pa.array([float("nan")] * len(texts)),
    "decimals": lambda texts: pa.array([Decimal("1.50")] * len(texts)),
    "truth": lambda texts: pa.array([True] * len(texts)),
    "lists": lambda texts: pa.array([[text] for text in texts]),
    "chats": lambda texts: pa.array([[{"role": "user", "content": text}] for text in texts]),
    "structs": lambda texts: pa.array([{"text": text} for text in texts]),
    "dates": lambda texts: pa.array([datetime.date(2024, 5, 1)] * len(texts)),
    "times out of range": lambda texts: pa.array([1 << 61] * len(texts), pa.timestamp("us")),
}
CONFIGURATIONS: list[tuple[str, Any, str]] = [
    ("splits.tuning", 900, ""),
    ("splits.calibration", 900, "own"),
    ("splits.test", 2, ""),
    ("splits.test", 99, ""),
    ("splits.act_select", 12, "own"),
    ("splits.act_confirm", -1, "datasets.own.splits.act_confirm"),
    ("files.train", None, "dataset own"),
    ("files.train", "nowhere.jsonl", "nowhere.jsonl"),
    ("files.test", ".", "found a folder"),
    ("files.test", "a{b}.jsonl", "datasets.own.files.test"),
    ("files.test", "-x.jsonl", "datasets.own.files.test"),
    ("files.test", "", "datasets.own.files.test"),
    ("files.test", 7, "datasets.own.files.test"),
    ("template", "no place", "datasets.own"),
    ("template", "\ud83d {question}", "datasets.own.template"),
    ("template", "{question} \x00", "datasets.own.template"),
    ("template", "{{question}} {x} {question}", ""),
    ("stop", [""], "datasets.own.stop"),
    ("stop", ["\udc00"], "datasets.own.stop"),
    ("stop", "\n", "datasets.own.stop"),
    ("max_new_tokens", 0, "datasets.own.max_new_tokens"),
    ("task", "gsm9k", "datasets.own.task"),
    ("formats", {"builtin": "many"}, "formats.many"),
    ("generate", 1, "datasets.own"),
]


@dataclass
class Case:
    """A configuration with its files."""

    odd: str
    raw: dict[str, Any]
    texts: dict[str, Row]
    """The rows that were meant, by their source."""
    places: list[str]
    """What a refusal names, one of them; nothing where nothing is to be refused."""


def good(task: str, label: str, number: int) -> Row:
    """Return a row that nothing is wrong with."""
    asked, more = f"{label} {number}: {number} and one?", number + 1
    if task == "gsm8k":
        return {"question": asked, "answer": f"{number} + 1 = <<{number}+1={more}>>{more}\n#### {more}"}
    if task == "math":
        return {"problem": asked, "level": "Level 1", "solution": rf"So it is $\boxed{{{more}}}$."}
    options = [f"{letter}){number + place}" for place, letter in enumerate("ABCDE")]
    return {"question": asked, "options": options, "rationale": "It is so.", "correct": "ABCDE"[number % 5]}


def cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Yield `count` cases, every kind of oddity in turn; their files lie in a folder of their own."""
    kinds = (_odd_value, _odd_gold, _odd_line, _odd_column, _damaged, _repeated, _configured)
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        place = folder / str(number)
        place.mkdir()
        case = kinds[number % len(kinds)](place, rng, rng.choice(TASKS))
        case.odd = f"case {number} of seed {seed}: {case.odd}"
        yield case


def _case(folder: Path, task: str, kind: str, odd: str, rows: dict[str, list[Row]], places: list[str]) -> Case:
    own = {
        "task": task,
        "files": {pool: str(folder / f"{pool}.{kind}") for pool in POOLS},
        "template": "Q : {question} A :",
        "splits": SPLITS,
        "max_new_tokens": 20,
    }
    study = {"models": ["builtin"], "datasets": ["own"], "recipes": ["well_tuned"], "results": str(folder / "results")}
    raw = overlay(tree.demo(), {"study": study, "datasets": {"own": own}, "formats": {"many": {"shots": 4}}})
    texts = {f"{pool}.{kind}:{at}": row for pool in POOLS for at, row in enumerate(rows[pool], start=1)}
    return Case(odd, raw, texts, places)


def _rows(task: str) -> dict[str, list[Row]]:
    return {pool: [good(task, pool, number) for number in range(count)] for pool, count in POOLS.items()}


def _write(folder: Path, rows: dict[str, list[Row]]) -> dict[str, list[bytes]]:
    """Write JSONL; return its lines."""
    lines = {pool: [json.dumps(row).encode() for row in rows[pool]] for pool in POOLS}
    for pool in POOLS:
        (folder / f"{pool}.jsonl").write_bytes(b"\n".join(lines[pool]))
    return lines


def _one_row(rng: random.Random, rows: dict[str, list[Row]]) -> tuple[str, int, Row]:
    pool = rng.choice(list(POOLS))
    at = rng.randrange(POOLS[pool])
    return pool, at + 1, rows[pool][at]


def _odd_value(folder: Path, rng: random.Random, task: str) -> Case:
    rows = _rows(task)
    pool, at, row = _one_row(rng, rows)
    name, value = rng.choice(TEXTS[task]), rng.choice([*VALUES, "absent"])
    row[name] = value
    if value == "absent":
        del row[name]
    _write(folder, rows)
    return _case(folder, task, "jsonl", f"{task} {name} is {value!a:.60}", rows, [f"{folder}/{pool}.jsonl:{at}"])


def _odd_gold(folder: Path, rng: random.Random, task: str) -> Case:
    rows = _rows(task)
    pool, at, row = _one_row(rng, rows)
    name = rng.choice([name for name in row if name in GOLD])
    row[name] = rng.choice(GOLD[name])
    _write(folder, rows)
    return _case(folder, task, "jsonl", f"{task} {name} is {row[name]!a:.60}", rows, [f"{folder}/{pool}.jsonl:{at}"])


def _odd_line(folder: Path, rng: random.Random, task: str) -> Case:
    rows = _rows(task)
    pool, at, _ = _one_row(rng, rows)
    lines, odd = _write(folder, rows)[pool], rng.choice(list(LINES))
    lines[at - 1] = LINES[odd](lines[at - 1])
    (folder / f"{pool}.jsonl").write_bytes(b"\n".join(lines))
    places = [f"{folder}/{pool}.jsonl:{number}" for number in (at, at + 1)]  # UTF-16 has a line's end of its own
    return _case(folder, task, "jsonl", f"{task} {odd}", rows, places)


def _parquet(folder: Path, rows: dict[str, list[Row]], odd: str | None = None, name: str = "", pool: str = "") -> None:
    for here in POOLS:
        columns: dict[str, Any] = {column: [row[column] for row in rows[here]] for column in rows[here][0]}
        if here == pool:
            columns[name] = COLUMNS[str(odd)](columns[name])
        pq.write_table(pa.table(columns), folder / f"{here}.parquet", write_page_checksum=True)


def _odd_column(folder: Path, rng: random.Random, task: str) -> Case:
    rows, pool, odd, name = _rows(task), rng.choice(list(POOLS)), rng.choice(list(COLUMNS)), rng.choice(TEXTS[task])
    _parquet(folder, rows, odd, name, pool)
    if odd in ("numbers", "decimals"):  # which may be gold
        held = COLUMNS[odd]([row[name] for row in rows[pool]]).to_pylist()
        rows[pool] = [row | {name: value} for row, value in zip(rows[pool], held, strict=True)]
    return _case(folder, task, "parquet", f"{task} {name} as {odd}", rows, [f"{folder}/{pool}.parquet:"])


def _damaged(folder: Path, rng: random.Random, task: str) -> Case:
    """Cut a file short, turn some bits, or leave nothing of it."""
    rows, pool, kind = _rows(task), rng.choice(list(POOLS)), rng.choice(["jsonl", "parquet"])
    (_parquet if kind == "parquet" else _write)(folder, rows)
    file = folder / f"{pool}.{kind}"
    content, how = bytearray(file.read_bytes()), rng.choice(["cut", "bits", "empty", "other"])
    if how == "bits" and kind == "parquet":  # whose pages have checksums
        for _ in range(3):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    changed = {"cut": content[: rng.randrange(1, len(content))], "empty": b"", "other": b"PAR1 {}"}.get(how, content)
    file.write_bytes(changed)
    # a row less, or another question, may be all that is left of it
    return _case(folder, task, kind, f"{task} {kind}, {how}", rows, [str(file), "dataset own"])


def _repeated(folder: Path, rng: random.Random, task: str) -> Case:
    """Let questions stand twice, in one file or in both."""
    rows = _rows(task)
    both = rng.random() < 0.5
    rows["train"][0] = dict(rows["test" if both else "train"][-1])
    name = "problem" if task == "math" else "question"
    rows["train"][0][name] = f"  {rows['train'][0][name].upper()}"
    _write(folder, rows)
    return _case(folder, task, "jsonl", f"{task} repeated, {both=}", rows, ["dataset own"])


def _configured(folder: Path, rng: random.Random, task: str) -> Case:
    rows = _rows(task)
    _write(folder, rows)
    key, value, place = rng.choice(CONFIGURATIONS)
    case = _case(folder, task, "jsonl", f"{task} {key}: {value!a}", rows, [place] if place else [])
    case.raw = overlay(case.raw, nested(f"datasets.own.{key}", value))
    return case


def altered(case: Case, loaded: pd.DataFrame) -> list[str]:
    """Return what stands in the questions and gold of a case and not in its rows, each as one line."""
    task = case.raw["datasets"]["own"]["task"]
    return [
        f"{asked.source} {name}: {getattr(asked, name)!a:.80} is not {expected!a:.80}"
        for asked in loaded.itertuples()
        for name, expected in _expected(task, case.texts[str(asked.source)]).items()
        if getattr(asked, name) != expected
    ]


def _expected(task: str, row: Row) -> dict[str, object]:
    """Return what is to be read from a row, found here by another way than the project's; None for what is no text."""
    if task == "gsm8k" and "####" not in str(row["answer"]):  # a number alone is gold too
        row = row | {"answer": f"#### {str(row['answer']).strip()}"}
    text = {name: value.strip() if isinstance(value, str) else None for name, value in row.items()}
    if task == "math":
        boxes = re.findall(r"\\(?:boxed|fbox)(?:{((?:[^{}]|{[^{}]*})*)}| ([^\s$]+))", row["solution"])
        return {
            "question": text["problem"],
            "rationale": text["solution"],
            "answer": next(filter(None, boxes[-1]), None),
        }
    assert row.get("rationale", row.get("answer", "")).count("####") == (task == "gsm8k")
    if task == "aqua":
        options = [option.strip() for option in row["options"]]
        gold = f"{text['rationale']}\n#### {text['correct']}"
        return {"question": "\n".join([str(text["question"]), *options]), "rationale": gold, "answer": text["correct"]}
    gold = re.sub("<<.*?>>", "", str(text["answer"])).strip()
    (digits,) = re.findall(r"####\s*(\S+)\Z", gold)
    answer = digits.replace(",", "").replace("$", "").rstrip("%.")
    assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(/[1-9][0-9]*)?", answer)
    return {"question": text["question"], "rationale": gold, "answer": answer}

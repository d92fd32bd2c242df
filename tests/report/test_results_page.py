"""docs/results.md names every table and column, each meaning once."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from dpc.report import results_page
from dpc.report.wording import FINDINGS
from dpc.storage import meanings
from dpc.storage.columns import SCHEMAS
from tests.support.paths import ROOT


def test_the_page_is_what_the_declarations_say() -> None:
    assert (ROOT / "docs" / "results.md").read_text() == results_page.text(), "run `make schema`"


def test_every_table_has_a_place_and_every_column_a_meaning() -> None:
    assert set(meanings.TABLES) == set(SCHEMAS)
    for table, columns in SCHEMAS.items():
        for column in columns:
            assert meanings.meaning(table, column).text, f"{table}.{column}"


def test_no_meaning_is_left_over_or_told_twice() -> None:
    assert meanings.unused() == []
    texts = [each.text for each in meanings.MEANINGS.values()]
    assert [text for text, count in Counter(texts).items() if count > 1] == []


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ("s_ifp_before", "`s_ifp`, before corruption"),
        ("nll_after", "`nll`, after corruption"),
        ("flow_latter", meanings.MEANINGS["flow_latter"].text),
    ],
)
def test_a_suffix_says_when(column: str, wanted: str) -> None:
    assert meanings.meaning("mechanism", column).text == wanted


def test_an_unknown_column_is_an_error() -> None:
    with pytest.raises(KeyError, match="brightness"):
        meanings.meaning("flow", "brightness")


def test_every_table_lies_where_a_rule_writes_it() -> None:
    rules = "\n".join(file.read_text() for file in (ROOT / "workflow" / "rules").glob("*.smk"))
    written = re.sub(r"\{+(\w+)\}+", lambda found: found[1], rules)
    for table, about in meanings.TABLES.items():
        file = about.file.replace(meanings.SEED, "CELL")
        file = file if file.startswith("CELL") else f"R/{file}"
        for name in ("DATASET", "SPLIT", "PART"):
            file = file.replace(name, name.lower())
        place, _, kept = file.partition("/store/")
        named = f'store({place}, "{kept.strip("/")}"' if kept else f'"{file}'
        assert named in written, f"{table}: {about.file}"


def test_the_numbers_of_the_analyses_are_named() -> None:
    page = results_page.text()
    assert all(f"| `{name}` | {label} |" in page for name, label in FINDINGS.items())

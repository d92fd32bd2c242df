"""CPU stages at the paper's size: what counts as missed, the section of the page, and every stage once, small."""

import importlib
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from benchmarks import scale, scale_page
from dpc.pipeline import cli, cpu_cost

ROW: dict[str, Any] = {
    "cell": "m × d", "rule": "plan", "about": "", "seconds": 2.0, "cpu_seconds": 1.0, "peak_mb": 150.0,
    "asked_mb": 1000, "asked_minutes": 10, "share": 1,
}  # fmt: skip
STAGES = {*cpu_cost.NEEDS, "load_problems", "render_questions", "write_validation"}
"""All rules without torch that a study runs, and planted harm's."""


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, ""),
        ({"peak_mb": 1001}, "1001 MB, expected at most 1000"),
        ({"peak_mb": 4001, "asked_mb": 9000}, "4001 MB, expected at most 4000"),
        ({"cpu_seconds": 61}, "61 s, expected at most 60"),
        ({"cpu_seconds": 61, "rule": "sweep_choices"}, ""),
        ({"cpu_seconds": 121, "rule": "sweep_choices"}, "121 s, expected at most 120"),
        ({"cpu_seconds": 6, "rule": "dry run"}, "6 s, expected at most 5"),
        ({"cpu_seconds": 59, "asked_minutes": 0.5}, "59 s, expected at most 30"),
    ],
)
def test_what_is_missed(change: dict[str, Any], missed: str) -> None:
    row = ROW | change
    assert scale_page.faults([row]) == ([f"m × d, {row['rule']}: {missed}"] if missed else [])


def test_the_section_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\nOthers.\n")
    for seconds in (2.5, 3.5):
        scale_page.write([ROW | {"cpu_seconds": seconds}], page)
    text = page.read_text()
    assert text.startswith("# Benchmarks\n\nOthers.\n\n## CPU stages")
    assert text.count(scale_page.TITLE) == 1
    assert "| 3.5 |" in text
    assert "2.5" not in text
    scale_page.write([], page)
    assert page.read_text() == text


def test_the_published_rows_are_of_every_stage_and_of_what_rules_ask_for_now() -> None:
    rows = scale.read(scale.ROWS)
    for model, (dataset, *_) in scale.CELLS.items():
        measured = {row["rule"]: row for row in rows if row["cell"] == f"{model} × {dataset}"}
        assert set(measured) == STAGES
        bench = scale.Bench(model, Path(), 1)
        cells = dict.fromkeys(("draw_figures", "draw_overview"), scale.SEEDS)
        cells |= dict.fromkeys(("write_tables", "write_explorer_index"), scale.CELLS_OF_STUDY)
        for rule, row in measured.items():
            assert {name: row[name] for name in scale.PROFILE} == bench.asked(rule, cells.get(rule, 1)), rule
    assert rows[-1]["rule"] == "dry run"
    assert scale_page.faults(rows) == []


def test_every_line_is_one_that_its_stage_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the lines: no table is made, so that a flag that a stage gained is missed in a second, not in a proof."""
    read = []

    def parsed(name: str, line: list[str]) -> tuple[float, float, float]:
        stage, *flags = line[line.index("dpc") + 1 :]
        cli._parser(stage, importlib.import_module(f"dpc.pipeline.stages.{stage}")).parse_args(flags)
        read.append(name)
        return 0, 0, 0

    monkeypatch.setattr(scale, "measured", parsed)
    for name in ("made", "tables", "edits_of"):
        monkeypatch.setattr(scale, name, MagicMock())
    monkeypatch.setattr(scale.made, "write_rows", lambda *_: ("train", "test"))
    monkeypatch.setattr(scale, "_linked", lambda table, _: table)
    scale.study(scale.Bench("llama3-8b", tmp_path, 0.01))
    assert set(read) == STAGES


@pytest.mark.proof
def test_every_stage_runs_at_a_small_size(tmp_path: Path) -> None:
    scale.measure(["llama3-8b"], 0.01, tmp_path / "rows.jsonl")
    assert {row["rule"] for row in scale.read(tmp_path / "rows.jsonl")} == {*STAGES, "dry run"}

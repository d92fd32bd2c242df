"""A stage whose code changed reruns: its version is raised, or the new code is recorded as giving the same results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpc.config.stages import VERSIONS
from tests.support import fingerprints

RECORD = json.loads(fingerprints.RECORD.read_text())

FILES = {
    "dpc/__init__.py": "",
    "dpc/stages/__init__.py": "",
    "dpc/stages/brew.py": "import dpc.tools\n\n\ndef run(n):\n    from .. import late\n    return late.heat(n)\n",
    "dpc/tools.py": 'import importlib\n\n\ndef get(name):\n    return importlib.import_module(f"dpc.kinds.{name}")\n'
    '\n\nTEAS = declared("teas", "tea")\n',
    "dpc/late.py": (
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from dpc.only_types import Cup\n\n\n"
        "def heat(cups: 'Cup'):\n    return cups * 2\n"
    ),
    "dpc/only_types.py": "class Cup:\n    size = 1\n",
    "dpc/unused.py": "x = 1\n",
    "dpc/teas/black.py": "@tea(label='Black')\ndef black():\n    return 1\n",
    "dpc/config/stages.py": "VERSIONS = {}\n",
    "dpc/kinds/__init__.py": "",
    "dpc/kinds/green.py": "minutes = 2\n",
    "dpc/kinds/house.mplstyle": "# colours\nlines.linewidth: 1\n",
}


def complaint(stage: str, recorded: dict[str, dict[str, int | str]], now: dict[str, dict[str, int | str]]) -> str:
    """Say what to do about a stage whose code or version is not the recorded one; empty if both are."""
    if stage not in recorded or recorded[stage]["version"] != now[stage]["version"]:
        return f"{stage}: its version is not the recorded one; run `make fingerprints`"
    if recorded[stage]["fingerprint"] != now[stage]["fingerprint"]:
        return (
            f"{stage}: its code changed, its version did not; raise the version in its file "
            "so that it runs again, and run `make fingerprints`; where results are the same, run that alone"
        )
    return ""


@pytest.mark.parametrize("stage", VERSIONS)
def test_changed_code_has_a_new_version(stage: str) -> None:
    found = fingerprints.fingerprint(f"dpc.pipeline.stages.{stage}")
    now: dict[str, dict[str, int | str]] = {stage: {"version": VERSIONS[stage], "fingerprint": found}}
    problem = complaint(stage, RECORD, now)
    assert not problem, problem


def test_no_stage_is_recorded_that_is_gone() -> None:
    assert set(RECORD) == set(VERSIONS), "run `make fingerprints`"


def test_what_is_complained_about() -> None:
    recorded: dict[str, dict[str, int | str]] = {"brew": {"version": 1, "fingerprint": "a"}}
    assert complaint("brew", recorded, recorded) == ""
    assert "brew: its code changed" in complaint("brew", recorded, {"brew": {"version": 1, "fingerprint": "b"}})
    assert "run `make fingerprints`" in complaint("brew", recorded, {"brew": {"version": 2, "fingerprint": "b"}})
    assert "run `make fingerprints`" in complaint("new", recorded, {"new": {"version": 1, "fingerprint": "b"}})


def small_project(folder: Path, **changed: str) -> str:
    """Write FILES, with `path__to__file` changed, and return the fingerprint of its stage."""
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(changed.get(name.split(".")[0].replace("/", "__"), text))
    return fingerprints.fingerprint("dpc.stages.brew", folder)


SAME = {
    "comment": {"dpc__late": "# a comment\n" + FILES["dpc/late.py"]},
    "spacing": {"dpc__kinds__green": "minutes   =   2\n\n\n"},
    "module docstring": {"dpc__stages__brew": '"""Brew."""\n' + FILES["dpc/stages/brew.py"]},
    "function docstring": {"dpc__late": FILES["dpc/late.py"].replace("    return", '    """Heat."""\n    return')},
    "attribute docstring": {"dpc__kinds__green": 'minutes = 2\n"""How long."""\n'},
    "unused module": {"dpc__unused": "x = 2\n"},
    "module for the type checker": {"dpc__only_types": "class Cup:\n    size = 2\n"},
    "the rest of a file whose declarations are read": {"dpc__teas__black": FILES["dpc/teas/black.py"] + "\n\nx = 1\n"},
    "declared version": {"dpc__stages__brew": FILES["dpc/stages/brew.py"] + "\n\nSTAGE = stage(version=2)\n"},
    "comment of a style": {"dpc__kinds__house": "# other colours\nlines.linewidth: 1\n"},
}
OTHER = {
    "the stage": {"dpc__stages__brew": FILES["dpc/stages/brew.py"].replace("heat(n)", "heat(n + 1)")},
    "an import at the top": {"dpc__tools": FILES["dpc/tools.py"] + "y = 1\n"},
    "an import within a function": {"dpc__late": FILES["dpc/late.py"].replace("2", "3")},
    "a module found by a computed name": {"dpc__kinds__green": "minutes = 3\n"},
    "a declaration": {"dpc__teas__black": FILES["dpc/teas/black.py"].replace("Black", "Tea")},
    "a default": {"dpc__late": FILES["dpc/late.py"].replace("'Cup'", "'Cup' = 1")},
    "a string that is used": {"dpc__kinds__green": 'minutes = "2"\n'},
    "a figure style": {"dpc__kinds__house": "# colours\nlines.linewidth: 2\n"},
}


@pytest.mark.parametrize("change", SAME)
def test_comments_do_not_count(change: str, tmp_path: Path) -> None:
    assert small_project(tmp_path, **SAME[change]) == small_project(tmp_path)


@pytest.mark.parametrize("change", OTHER)
def test_code_counts(change: str, tmp_path: Path) -> None:
    assert small_project(tmp_path, **OTHER[change]) != small_project(tmp_path)


def test_stages_count_what_they_stand_on() -> None:
    regenerate = set(fingerprints.closure("dpc.pipeline.stages.regenerate"))
    assert {
        "dpc.lm.decoding",
        "dpc.lm.cache",
        "dpc.prompts.edits",
        "dpc.tasks.math",
        "dpc.config.settings",
        "dpc.config.kinds",
    } <= regenerate
    assert not {name for name in regenerate if name.startswith(("dpc.report", "dpc.config.stages"))}
    assert "dpc.lm.saliency.measuring" not in regenerate
    assert "dpc.lm.builtin" not in fingerprints.closure("dpc.pipeline.stages.plan")
    assert "dpc.report.drawing" in fingerprints.closure("dpc.pipeline.stages.draw_figures")

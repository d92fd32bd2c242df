"""What files declare is read without running them; what cannot be read so is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from dpc.config.declared import Declared, declared, settings_of
from dpc.config.schema import meanings
from dpc.errors import DpcError

HEAVY = "import no_such_package\n"


def write(folder: Path, **files: str) -> Path:
    """Write files of the folder `things` of a package; return the package."""
    (folder / "dpc" / "things").mkdir(parents=True)
    for name, text in files.items():
        (folder / "dpc" / "things" / f"{name}.py").write_text(HEAVY + text)
    return folder / "dpc"


FOUND = {
    "above a function": ("@thing(label='A')\ndef a(): ...\n", {"a": {"label": "A"}}),
    "above a class": ("@thing(size=2)\nclass A: ...\n", {"A": {"size": 2}}),
    "given to a name": ("RECORD = thing(names=('x', 'y'))\n", {"one": {"names": ("x", "y")}}),
    "beside others": ("@other(x=1)\n@thing(label='A')\n@cache\ndef a(): ...\n", {"a": {"label": "A"}}),
    "several in a file": ("@thing(n=1)\ndef b(): ...\n\n\n@thing(n=2)\ndef a(): ...\n", {"b": {"n": 1}, "a": {"n": 2}}),
    "no values": ("@thing()\ndef a(): ...\n", {"a": {}}),
    "none": ("@thing\ndef a(): ...\n\n\n@x.thing(n=1)\ndef b(): ...\n\n\nthing(n=1)\n", {}),
}


@pytest.mark.parametrize("case", FOUND)
def test_declarations_are_found(case: str, tmp_path: Path) -> None:
    text, wanted = FOUND[case]
    found = declared("things", "thing", write(tmp_path, one=text))
    assert {name: each.values for name, each in found.items()} == wanted
    assert list(found) == list(wanted)
    assert {each.module for each in found.values()} <= {"dpc.things.one"}


def test_files_follow_each_other_by_name(tmp_path: Path) -> None:
    text = "@thing(n=1)\ndef {}(): ...\n"
    found = declared("things", "thing", write(tmp_path, two=text.format("a"), one=text.format("b")))
    assert found == {"b": Declared("dpc.things.one", {"n": 1}), "a": Declared("dpc.things.two", {"n": 1})}
    assert list(found) == ["b", "a"]


REFUSED = {
    "a computed value": ("@thing(label=f'{x}')\ndef a(): ...\n", r"one\.py:2: thing\(\.\.\.\) is read without running"),
    "a name for a value": ("@thing(label=LABEL)\ndef a(): ...\n", r"one\.py:2: .*write plain values, each by its name"),
    "a value without a name": ("\n@thing('A')\ndef a(): ...\n", r"one\.py:3: .*each by its name"),
    "a name twice": ("@thing(n=1)\ndef a(): ...\n\n\n@thing(n=2)\ndef a(): ...\n", r"one\.py:6: a is declared in dpc"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(case: str, tmp_path: Path) -> None:
    text, message = REFUSED[case]
    with pytest.raises(DpcError, match=message):
        declared("things", "thing", write(tmp_path, one=text))


SETTINGS = """from pydantic import Field
from dpc.config.kinds import Count, Settings as Closed


class Settings(Closed):
    rank: Count = 4
    \"\"\"Inner size.\"\"\"


class Thing(no_such_package.Base): ...
"""


def test_the_settings_of_a_file_are_a_closed_model_made_without_the_rest(tmp_path: Path) -> None:
    made = settings_of("things", "one", write(tmp_path, one=SETTINGS))
    assert made().rank == 4
    assert meanings(made) == {"rank": "Inner size."}
    for wrong in ({"rank": 0}, {"rnk": 4}, {"rank": "4"}):
        with pytest.raises(ValidationError):
            made.model_validate(wrong)


def test_a_file_without_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DpcError, match=r"one\.py: found no class Settings; write one"):
        settings_of("things", "one", write(tmp_path, one="class Other: ...\n"))

"""Tables of texts with their strict and lenient readings: `text | strict | lenient`, one a line.

`⏎` stands for a line break, `-` for no answer; lines that begin with `---` are headings.
"""

from __future__ import annotations

from pathlib import Path

Case = tuple[str, str | None, str | None]


def cases(task: str) -> list[Case]:
    """Return every row of the table of `task`."""
    lines = (Path(__file__).parent / f"{task}.txt").read_text(encoding="utf-8").splitlines()
    return [_case(line) for line in lines if line and not line.startswith("---")]


def _case(line: str) -> Case:
    text, strict, lenient = (part.strip() for part in line.rsplit("|", 2))
    return text.replace("⏎", "\n"), None if strict == "-" else strict, None if lenient == "-" else lenient

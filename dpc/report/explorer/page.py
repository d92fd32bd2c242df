"""Put the page together: data, style and script in one file that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dpc.report.explorer import codes

FOLDER = Path(__file__).parent
SCRIPTS = ("numbers.js", "state.js", "drawing.js", "list.js", "case.js", "causes.js", "side.js", "page.js")
"""The parts of the page's script, in order."""


def html(title: str, data: dict[str, Any]) -> str:
    """Return the page of a cell. Texts are part of `data`, so nothing they hold is read as markup."""
    return _filled("page.html", title, script(), data=_as_json(data))


def index(title: str, cells: list[dict[str, Any]], plans: list[str]) -> str:
    """Return the page that lists the cells of a study."""
    return _filled("index.html", title, (FOLDER / "index.js").read_text(), cells=cells, plans=plans)


def script() -> str:
    """Return the script of a cell's page, whose names stay its own."""
    parts = "\n".join((FOLDER / name).read_text() for name in SCRIPTS)
    return f"(() => {{\n'use strict';\n{parts}\n}})();\n"


def _filled(template: str, title: str, code: str, **more: Any) -> str:
    style = (FOLDER / "style.css").read_text()
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{_hash(style)}'; script-src 'sha256-{_hash(code)}'"
    return environment.get_template(template).render(title=title, style=style, script=code, policy=policy, **more)


def _hash(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _as_json(data: dict[str, Any]) -> str:
    """Return `data` as JSON that may stand in a script element: none of its texts can end it."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def packed_texts(cases: list[dict[str, Any]]) -> str:
    """Return the texts of all cases, compressed."""
    content = json.dumps(cases, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return codes.deflated([content.encode("utf-8", "replace")], zlib.Z_DEFAULT_STRATEGY)

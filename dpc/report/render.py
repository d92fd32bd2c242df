"""Tables as LaTeX, CSV, Markdown and a web page that needs no other file."""

from __future__ import annotations

import html
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.report.table_text import Table
from dpc.storage.files import atomic

_LONGEST_FLOAT = 40  # rows that fit on a page; longer tables break over pages
_SENTENCE = 30  # characters
_NAME = 14  # characters: shorter words do not wrap, which would make two lines of every row
_INTERVAL = re.compile(r"\[[^][]*\]|[−\d.]+ (?:to|of) [−\d.]+")
_LATEX = {
    "\\": r"\textbackslash{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{"–": "--", "…": r"\dots{}", "−": "$-$", "×": r"$\times$", "·": r"$\cdot$", "→": r"$\to$"},
    **{"Γ": r"$\Gamma$", "κ": r"$\kappa$", "φ": r"$\varphi$", "∂": r"$\partial$"},
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #222; width: fit-content;
  margin: 2em auto; padding: 0 1.5em; }}
h1 {{ font-size: 1.25em; margin: 0 0 .6em; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93em; }}
caption {{ caption-side: bottom; text-align: left; padding-top: .8em; color: #444; font-size: .95em;
  max-width: 60em; }}
th, td {{ padding: .25em .5em; text-align: right; vertical-align: top; }}
th {{ vertical-align: bottom; }}
th.text, td.text {{ text-align: left; }}
td.long {{ min-width: 10em; }}
td.name, .whole {{ white-space: nowrap; }}
thead tr {{ border-bottom: 1.5px solid #222; border-top: 1.5px solid #222; }}
tbody tr.group {{ border-top: 1px solid #bbb; }}
tbody {{ border-bottom: 1.5px solid #222; }}
tbody tr:hover {{ background: #f2f6fa; }}
</style>
</head>
<body>
<h1>{title}</h1>
<div class="scroll">
<table>
<caption>{caption}</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</div>
</body>
</html>
"""


def write(table: Table, folder: Path, origin: str) -> None:
    """Write `table` as folder/NAME.tex, .csv, .md and .html, each atomically; `origin` ends the caption."""
    table = replace(table, caption=f"{table.caption} {origin}")
    texts = {
        "tex": latex(table),
        "csv": table.numbers.map(_flat).to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        "md": markdown(table),
        "html": web_page(table),
    }
    for ending, text in texts.items():
        with atomic(folder / f"{table.name}.{ending}") as temporary:
            temporary.write_text(text, encoding="utf-8")


def _flat(value: Any) -> Any:
    """Return a list of numbers as text, `0.01; 0.5`, an unknown one as nothing; all else as it is."""
    if not isinstance(value, tuple):
        return value
    return "; ".join("" if math.isnan(number) else f"{number:.4g}" for number in value)


def escape_latex(text: str) -> str:
    """Return `text` so that LaTeX prints it as it stands."""
    return "".join(_LATEX.get(char, char) for char in text)


def latex(table: Table) -> str:
    """Return `table` in LaTeX with booktabs; a long one breaks over pages with longtable."""
    columns = "".join("l" if is_text else "r" for is_text in _texts(table.text))
    head = " & ".join(map(escape_latex, table.text.columns)) + r" \\"
    body = [" & ".join(escape_latex(str(cell)) for cell in row) + r" \\" for row in table.text.to_numpy()]
    body = [line if not new else f"\\midrule\n{line}" for line, new in zip(body, _new_groups(table.text), strict=True)]
    caption = f"\\caption{{{escape_latex(table.caption)}}}\\label{{tab:{table.name}}}"
    if len(body) > _LONGEST_FLOAT:
        packages, lines = "booktabs, longtable", _long_table(columns, head, body, caption)
    else:
        packages, lines = "booktabs", _floating_table(columns, head, body, caption)
    return "\n".join([f"% needs \\usepackage{{{packages}}}", *lines, ""])


def _floating_table(columns: str, head: str, body: list[str], caption: str) -> list[str]:
    inner = [r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
    start = [r"\begin{table}", r"\centering\footnotesize", caption, f"\\begin{{tabular}}{{{columns}}}"]
    return [*start, *inner, r"\end{tabular}", r"\end{table}"]


def _long_table(columns: str, head: str, body: list[str], caption: str) -> list[str]:
    first = [f"{caption}\\\\", r"\toprule", head, r"\midrule", r"\endfirsthead"]
    again = [r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endlastfoot"]
    start = [r"{\footnotesize", f"\\begin{{longtable}}{{{columns}}}"]
    return [*start, *first, *again, *body, r"\end{longtable}", "}"]


def markdown(table: Table) -> str:
    """Return `table` in Markdown, its caption beneath."""
    rule = [":--" if is_text else "--:" for is_text in _texts(table.text)]
    rows = [list(table.text.columns), rule, *table.text.to_numpy().tolist()]
    lines = ["| " + " | ".join(_escape_markdown(str(cell)) for cell in row) + " |" for row in rows]
    return "\n".join([f"**{table.title}**", "", *lines, "", _escape_markdown(table.caption), ""])


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\|*_<>`])", r"\\\1", text)


def web_page(table: Table) -> str:
    """Return `table` as one self-contained page."""
    kinds = _kinds(table.text)
    head = "".join(_tag("th", kind, name) for kind, name in zip(kinds, table.text.columns, strict=True))
    body = []
    for row, new in zip(table.text.to_numpy(), _new_groups(table.text), strict=True):
        cells = "".join(_tag("td", kind, cell) for kind, cell in zip(kinds, row, strict=True))
        body.append(f'<tr class="group">{cells}</tr>' if new else f"<tr>{cells}</tr>")
    return _PAGE.format(
        title=html.escape(table.title), caption=html.escape(table.caption), head=head, body="\n".join(body)
    )


def _kinds(text: pd.DataFrame) -> list[str]:
    """Return each column's class: words stand to the left, names do not wrap, sentences keep some width."""
    longest = [max((len(str(cell)) for cell in text[name]), default=0) for name in text.columns]
    return [
        f'class="text{" long" * (width > _SENTENCE)}{" name" * (width <= _NAME)}"' if is_text else ""
        for is_text, width in zip(_texts(text), longest, strict=True)
    ]


def _tag(name: str, attributes: str, text: object) -> str:
    """Return a cell; lines break in it where they like, but never within an interval."""
    shown = _INTERVAL.sub(r'<span class="whole">\g<0></span>', html.escape(str(text)))
    return f"<{name} {attributes}>".replace(" >", ">") + shown + f"</{name}>"


def _texts(text: pd.DataFrame) -> list[bool]:
    """Say which columns are words, and so stand to the left: names up to the first column of numbers."""
    words = {
        "model", "dataset", "recipe", "method", "plan", "finding", "claim", "test", "verdict", "why", "target", "split",
        "reading", "note", "saliency measured", "tuner", "prompt",
    }  # fmt: skip
    return [name in words for name in text.columns]


def _new_groups(text: pd.DataFrame) -> list[bool]:
    """Say where a new cell (model, dataset, recipe) begins, the first row aside."""
    keys = [tuple(row) for row in text[["model", "dataset", "recipe"]].to_numpy()]
    return [number > 0 and key != keys[number - 1] for number, key in enumerate(keys)]

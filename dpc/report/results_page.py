"""The page about results, `docs/results.md`: every figure, table and column. `make schema` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dpc.report.exhibits import FIGURES, TABLES, Exhibit
from dpc.report.wording import FINDINGS
from dpc.storage import meanings
from dpc.storage.columns import SCHEMAS

HEAD = """# Results and their columns

A study writes everything into the folder `study.results`. `make schema` writes this page from the declarations of
figures, tables and columns: do not edit it. MODEL, DATASET and RECIPE are names of your configuration, N is a prompt
seed, SPLIT is `calibration` or `test`. [terms.md](terms.md) defines the words; D1 to D31 are the choices in
[choices.md](choices.md).

Read a table in Python with `dpc.storage.tables.read(path, name)`, or with any reader of Parquet. The footer of each
file says which stage made it, with which commit, settings, versions and host, and hashes of the model, data and prompt:
`dpc.storage.tables.provenance(path)`. [pandas.md](pandas.md) reads results in ten lines."""
FOLDERS = {"cell": "figures/MODEL/DATASET/RECIPE", "recipes": "figures/MODEL/DATASET", "study": "tables",
           "validation": "tables"}  # fmt: skip
KINDS: dict[pa.DataType, str] = {
    pa.string(): "text", pa.bool_(): "yes or no", pa.int32(): "whole number", pa.float64(): "number",
    pa.float32(): "number",
}  # fmt: skip
OTHERS = """## Other files

| file | what it holds |
|---|---|
| `summary.txt` | the study on one screen: accuracy, verdicts, what never fired, what was cut short, warnings |
| `report.html` | everything on one page, after `snakemake --report` |
| `explorer.html` | the cells, with links to their pages ([explorer.md](explorer.md)) |
| `MODEL/DATASET/RECIPE/seedN/explorer.html` | every case of the cell, token by token |
| `MODEL/DATASET/RECIPE/seedN/prompt/` | the soft prompt, as a PEFT adapter; one of tuner `mixture` PEFT cannot read |
| `MODEL/DATASET/RECIPE/seedN/store/` | finished batches of stages that can resume |
| `logs/RULE/` | one log per job: host, device and settings first; peak memory and time last |
| `benchmarks/RULE/` | Snakemake's own measurements of each job |
| `models/MODEL/` | a model that the workflow trained itself |"""


def text() -> str:
    """Return the page as Markdown."""
    parts = [
        HEAD,
        _shown("Figures", "Each figure is `NAME.svg` and `NAME.pdf`, with its caption in `NAME.txt`.", FIGURES),
        _shown("Tables for readers", "Each table is `NAME.html`, `.csv`, `.md` and `.tex`. The CSV has the numbers "
               "unrounded; the HTML has the caption.", TABLES),
        "## Parquet tables\n\nA name means the same in all tables. Lists over several axes are stored flat, the last "
        "axis fastest. Axes: L layer, T rationale token, N prompt vector, S position.",
        *(_table(name) for name in meanings.TABLES),
        OTHERS,
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _shown(title: str, files: str, exhibits: Mapping[str, Exhibit]) -> str:
    rows = [
        f"| `{FOLDERS[each.of]}/{name}` | {each.caption} | {', '.join(f'`{table}`' for table in each.tables)} |"
        for name, each in exhibits.items()
    ]
    return "\n".join([f"## {title}\n\n{files}\n", "| file | what it shows | made from |\n|---|---|---|", *rows])


def _table(name: str) -> str:
    about = meanings.TABLES[name]
    first = f"### {name}\n\n`{about.file}`: one row per {about.row}."
    return "\n\n".join([f"{first} {about.purpose}".strip(), _columns(name), *_names(name)])


def _columns(name: str) -> str:
    """Return the columns of a table; those that it shares with another are not told again."""
    whole = SCHEMAS[name]
    same = meanings.SAME.get(name)
    own = {column: kind for column, kind in whole.items() if not same or column not in SCHEMAS[same]}
    rows = [_row(name, column, kind) for column, kind in own.items()]
    shared = [f"It {'also ' * bool(rows)}has the columns of [{same}](#{same})."] if same else []
    listed = ["\n".join(["| column | values | unit | meaning |\n|---|---|---|---|", *rows])] if rows else []
    return "\n\n".join([*listed, *shared])


def _row(table: str, column: str, kind: Any) -> str:
    meaning = meanings.meaning(table, column)
    values = f"list: {KINDS[kind.value_type]}" if pa.types.is_list(kind) else KINDS[kind]
    return f"| `{column}` | {values} | {meaning.unit} | {meaning.text} |"


def _names(table: str) -> list[str]:
    """Return what the numbers of table `findings` are."""
    if table != "findings":
        return []
    rows = [f"| `{name}` | {label} |" for name, label in FINDINGS.items()]
    return ["\n".join(["| name | number |\n|---|---|", *rows])]


if __name__ == "__main__":
    print(text(), end="")

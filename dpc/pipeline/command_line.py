"""The command line of Snakemake, as `profiles/default/profile.yaml` sees it before Snakemake reads any file.

What would end in a traceback there, or be lost in silence, is refused in one line: a target behind `--configfile`,
which takes every word after it, and settings files that are not what their writer means.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dpc.config.yaml_files import check_file
from dpc.errors import DpcError

_FILES = ("--configfile", "--configfiles")
_ELSEWHERE = ("--profile", "--executor", "-e")
_CORES = ("--cores", "-c", "--jobs", "-j")
_OTHER_OUTPUT = (
    "--quiet",
    "-q",
    "--verbose",
    "--logger",
    "--printshellcmds",
    "-p",
    "--debug-dag",
    "--lint",
    "--report",
)
RULES = Path(__file__).parents[2] / "workflow" / "rules"


def check(words: Sequence[str]) -> None:
    """Raise DpcError for a target that `--configfile` would read as a file, and for settings files with a slip."""
    files = list(_after(words, _FILES))
    for name in files:
        if not Path(name).exists():
            raise DpcError(_absent(name, words, files))
    for path in [Path("config.yaml"), *map(Path, files)]:
        if path.is_file() or str(path) in files:
            check_file(path)


def _after(words: Sequence[str], options: tuple[str, ...]) -> Iterator[str]:
    """Yield what these options take: all words up to the next option, as argparse does."""
    is_taken = False
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            is_taken = name in options
            if is_taken and equals:
                yield value
        elif is_taken:
            yield word


def _absent(name: str, words: Sequence[str], files: list[str]) -> str:
    targets = {rule for file in RULES.glob("*.smk") for rule in re.findall(r"(?m)^rule (\w+):", file.read_text())}
    is_path = Path(name).suffix.lower() in (".yaml", ".yml", ".json")
    near = difflib.get_close_matches(name, targets, n=1, cutoff=0.75)
    if is_path or not near:
        here = [str(path) for path in (*Path().glob("*.yaml"), *Path().glob("workflow/*.yaml"))]
        hint = difflib.get_close_matches(name, here, n=1, cutoff=0.6)
        return f"{name}: found no such settings file; write the path of one" + (
            f": did you mean {hint[0]}?"
            if hint
            else ", or a target before --configfile, which takes every word after it"
        )
    kept = [word for word in words if word != name]
    order = shlex.join(["snakemake", near[0], *kept])
    was = f"--configfile takes every word after it, so {name!r} was read as a settings file"
    return f"{was}; write the target first: {order}"


def begin(words: Sequence[str]) -> None:
    """Refuse what cannot be meant, with status 1 and one line; else make the quiet terminal known to Snakemake."""
    try:
        check(words)
    except DpcError as error:
        print(f"config: {error}", file=sys.stderr)
        sys.exit(1)
    from dpc.pipeline import terminal

    terminal.register()


def is_here(words: Sequence[str]) -> bool:
    """Whether jobs run on this machine: nobody named a profile or an executor. One job at a time has its card then."""
    return not _has(words, _ELSEWHERE) and not os.environ.get("SNAKEMAKE_PROFILE")


def takes_all_cores(words: Sequence[str]) -> bool:
    """Whether a run on this machine takes all of its cores: nobody said how many."""
    return is_here(words) and not _has(words, _CORES)


def is_quiet(words: Sequence[str]) -> bool:
    """Whether the terminal shows one line a stage: unless Snakemake's own output was asked for.

    A report by itself is Snakemake's own work; one after a run is no reason to show the run otherwise.
    """
    is_run = "--report-after-run" in words
    return not _has([word for word in words if not (is_run and word.startswith("--report"))], _OTHER_OUTPUT)


def _has(words: Sequence[str], options: tuple[str, ...]) -> bool:
    long = tuple(option for option in options if option.startswith("--"))
    short = tuple(option for option in options if not option.startswith("--"))
    return any(
        word.partition("=")[0] in long or (word.startswith(short) and not word.startswith("--")) for word in words
    )

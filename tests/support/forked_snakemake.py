"""Run Snakemake again and again without importing it anew: `python -m tests.support.forked_snakemake`.

Reads a job a line from standard input (JSON: arguments, folder, environment, out, err), forks, and writes the exit
status of each as a line to standard output. Every job begins in a fork of a process that has run none. Half of what a
dry run of a small study takes is importing.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT


def imported() -> Iterator[str]:
    """Yield the modules that reading the Snakefile imports."""
    yield "snakemake.cli"
    for file in (ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))):
        yield from re.findall(r"^from (dpc[\w.]*) import ", file.read_text(), re.MULTILINE)


def run(job: dict[str, Any]) -> int:
    """Run Snakemake as `python -m snakemake` would, in a process of its own; return its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        for number, (name, mode) in enumerate(((os.devnull, "r"), (job["out"], "w"), (job["err"], "w"))):
            with Path(name).open(mode) as file:
                os.dup2(file.fileno(), number)
        os.chdir(job["folder"])
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.argv = ["snakemake", *job["arguments"]]
        from snakemake.cli import main

        main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    atexit._run_exitfuncs()  # os._exit runs none, and a study prints its summary there
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    for module in imported():
        import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        print(run(json.loads(line)), file=answers, flush=True)

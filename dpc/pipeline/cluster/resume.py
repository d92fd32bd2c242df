"""`python -m dpc.pipeline.cluster.resume [RESULTS] [--cancel]`: go on with a run whose Snakemake was killed.

Its jobs may still be running. They are waited for (or cancelled), what they finished is recorded under the settings
they were started with, the lock is cleared, and the killed run's own command is started again. `make resume` calls it.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dpc.errors import DpcError
from dpc.pipeline.cluster import slurm
from dpc.storage import claim

RUN = "run.json"
"""Claimed by Snakemake's main process in the results folder: host, process, logs, command line and configuration."""
STATE = Path(".snakemake")
POLL_SECONDS = 2.0
LONGEST_NAME = 254


def _record(kind: str, output: str) -> Path:
    """Return where Snakemake keeps a record of an output: its name in base64, in pieces where it is long."""
    name = base64.urlsafe_b64encode(output.encode()).decode()
    pieces = [name[i : i + LONGEST_NAME] for i in range(0, len(name), LONGEST_NAME)]
    return STATE.joinpath(kind, *(f"@{piece}" for piece in pieces[:-1]), pieces[-1])


def _unfinished() -> set[str]:
    """Return every output that Snakemake counts as begun and not finished."""
    found = set()
    for file in (STATE / "incomplete").rglob("*"):
        if file.is_file() and not file.name.startswith("migration"):
            parts = [part.removeprefix("@") for part in file.relative_to(STATE / "incomplete").parts]
            found.add(base64.urlsafe_b64decode("".join(parts)).decode())
    return found


def _log_of(results: Path) -> str:
    """Return what the last run for `results` logged: its jobs, their outputs and their Slurm numbers."""
    logs = [Path(name) for name in claim.read(results / RUN).get("logs", [])]
    return "".join(log.read_text() for log in logs if log.is_file())


def orphans(results: Path) -> list[str]:
    """Return the queued or running Slurm jobs that the last run for `results` submitted.

    Raises DpcError where Slurm does not tell.
    """
    submitted = set(re.findall(r"submitted with SLURM jobid (\d+)", _log_of(results)))
    return [job for job in slurm.queued(Path.cwd()) if job in submitted] if submitted else []


def _finished_unrecorded(results: Path) -> list[str]:
    """Return the outputs of the killed run that are there, finished by a job that outlived its Snakemake."""
    lines = re.findall(r"^    output: (.*)$", _log_of(results), re.MULTILINE)
    begun = [name for line in lines for name in line.split(", ")]
    unfinished = _unfinished()
    return [
        output
        for output in dict.fromkeys(begun)
        if Path(output).exists() and output not in unfinished and not _record("metadata", output).exists()
    ]


def _killed_run(results: Path | None) -> Path:
    """Return the file of the one run that was killed. Raises DpcError where there is none, or several."""
    folders = [results] if results else sorted({file.parent for file in Path().glob(f"results/**/{RUN}")})
    files = [folder / RUN for folder in folders if (folder / RUN).is_file()]
    for file in files:
        if claim.is_held(file):
            raise DpcError(f"{file.parent}: Snakemake still runs ({claim.described(claim.read(file))}); let it work")
    if len(files) != 1:
        found = f"found {len(files)} killed runs" if files else "found no run that was killed"
        raise DpcError(f"{found}; expected one: python -m dpc.pipeline.cluster.resume RESULTS, say results/paper")
    return files[0]


def _wait(results: Path, cancel: bool) -> None:
    """Return when Slurm says that none of the earlier run's jobs is left; while it says nothing, ask again."""
    cancelled, said = False, ""
    while True:
        try:
            jobs = orphans(results)
            if not jobs:
                return
            if cancel and not cancelled:
                slurm.cancel(jobs)
                cancelled = True
            news = f"{'cancelled' if cancel else 'waiting for'} Slurm job {', '.join(jobs)}"
        except DpcError as error:
            news = f"waiting: {error}"
        if news != said:
            print(news, flush=True)
            said = news
        time.sleep(POLL_SECONDS)


def _snakemake(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "snakemake", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DpcError(f"snakemake {' '.join(arguments[:2])} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def _tidy(results: Path, config: dict[str, object]) -> None:
    """Record what jobs finished on their own, under the configuration they were started with, and clear the lock."""
    finished = _finished_unrecorded(results)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(config))
        file.flush()
        _snakemake("--unlock", "--configfile", file.name)
        if finished:
            print(f"{len(finished)} files were finished meanwhile", flush=True)
            _snakemake("--touch", "--no-hooks", "--cores", "1", "--force", "--configfile", file.name, "--", *finished)


def main(argv: list[str]) -> int:
    """Prepare the folder and become the killed run's command; return a status only where that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m dpc.pipeline.cluster.resume", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("results", nargs="?", type=Path, help="results folder of the killed run")
    parser.add_argument("--cancel", action="store_true", help="cancel its jobs instead of waiting for them")
    asked = parser.parse_args(argv)
    try:
        file = _killed_run(asked.results)
        run = claim.read(file)
        if not {"arguments", "config"} <= run.keys():
            raise DpcError(f"{file}: found no command in it; write that of the killed run, with --rerun-incomplete")
        _wait(file.parent, asked.cancel)
        _tidy(file.parent, run["config"])
    except DpcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    file.unlink()
    # the killed run may itself have been resumed
    arguments = [word for word in run["arguments"] if word != "--rerun-incomplete"]
    command = ["snakemake", "--rerun-incomplete", *arguments]
    print("going on:", shlex.join(command), flush=True)
    os.execv(sys.executable, [sys.executable, "-m", *command])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

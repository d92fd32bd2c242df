"""`python -m dpc STAGE --settings JSON --flag path ...`: what every rule's shell line calls.

A stage's flags are the keyword arguments of its `run` function; what `run` takes by place stands without a flag. Heavy
packages load only with the stage that needs them. Ends with one clear error and status 1 where something is wrong that
the user can mend.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import inspect
import json
import logging
import os
import platform
import resource
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, get_type_hints

from pydantic import BaseModel, ValidationError

from dpc.config.execution import Execution
from dpc.config.messages import QUIET, did_you_mean, one_line
from dpc.config.told import STAGES
from dpc.errors import DpcError
from dpc.storage import attempts
from dpc.storage.claim import Claim
from dpc.storage.offline import OFFLINE

log = logging.getLogger("dpc")
WORKERS = {"answer": "dpc.pipeline.answering.command"}
READERS = {"show": "dpc.pipeline.show"}
COMMANDS = WORKERS | READERS
"""What people call and no rule does; those that only read log nothing but warnings."""
INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended, as shells have it."""


class _Parser(argparse.ArgumentParser):
    """Ends with one line where argparse would print all flags before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _json_reader(kind: type[BaseModel]) -> Callable[[str], BaseModel]:
    """Return how a flag that holds settings as JSON is read."""

    def read(text: str) -> BaseModel:
        try:
            return kind.model_validate_json(text)
        except ValidationError as error:
            is_json = error.errors()[0]["type"] != "json_invalid"
            message = one_line(error, kind, json.loads(text) if is_json else None)
            raise argparse.ArgumentTypeError(message) from None

    return read


def _converter(kind: Any) -> dict[str, Any]:
    """Return how argparse reads a flag of type `kind`."""
    if kind in (list[Path], list[str], Sequence[str]):
        return {"nargs": "*", "type": kind.__args__[0]}
    if kind is Execution:
        return {"type": _json_reader(Execution)}
    return {"type": next((t for t in (Path, int, str) if t is kind or t in getattr(kind, "__args__", ())), str)}


def _parser(stage: str, module: ModuleType) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"python -m dpc {stage}", description=module.__doc__, allow_abbrev=False)
    if stage in STAGES:
        parser.add_argument("--settings", required=True, type=_json_reader(STAGES[stage]), metavar="JSON")
    parser.add_argument("--log", type=Path, help="file the log is appended to")
    hints = get_type_hints(module.run)
    for name, parameter in inspect.signature(module.run).parameters.items():
        if name != "settings":
            required = parameter.default is parameter.empty  # a list too: its flag may stand without a value
            options: dict[str, Any] = {"default": None if required else parameter.default, "required": required}
            options |= _converter(hints[name])
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                parser.add_argument(name, type=options["type"])
            else:
                parser.add_argument(f"--{name.replace('_', '-')}", **options)
    return parser


def _start_log(file: Path | None, is_shown: bool = False) -> None:
    """Begin to log: everything to `file`, warnings to the terminal; everything there where it `is_shown`."""
    handlers: list[logging.Handler] = []
    if file is None or not os.environ.get(QUIET):
        handlers.append(logging.StreamHandler(sys.stderr))
        handlers[0].setLevel(logging.INFO if is_shown else logging.WARNING)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(file))
    form = "%(asctime)s %(levelname)s %(message)s"
    log.setLevel(logging.INFO)  # and no other: fonts are subset with a thousand lines
    logging.basicConfig(level=logging.WARNING, format=form, datefmt="%Y-%m-%d %H:%M:%S", handlers=handlers, force=True)
    if file is not None:
        _keep(file)


def _kept(file: Path) -> Path | None:
    """Return the second name of a Slurm job's log: Snakemake deletes the first one before it tries again."""
    job = os.environ.get("SLURM_JOB_ID")
    return file.with_suffix(f".job{job}.log") if job else None


def _keep(file: Path) -> None:
    kept = _kept(file)
    try:
        if kept and not kept.exists():
            kept.hardlink_to(file)
    except OSError as error:
        log.warning("a second attempt will lose this log, as the file system has no hard links: %s", error.strerror)


def _device(arguments: argparse.Namespace) -> str:
    execution = getattr(arguments, "execution", None)
    return str(execution.device if execution else getattr(arguments, "device", "cpu"))


def _header(stage: str, arguments: argparse.Namespace, argv: list[str]) -> None:
    job, device = os.environ.get("SLURM_JOB_ID", "none"), _device(arguments)
    log.info("stage %s, host %s, slurm job %s, device %s", stage, platform.node(), job, device)
    if "settings" in arguments:
        log.info("settings %s", json.dumps(arguments.settings.model_dump(mode="json"), sort_keys=True))
    log.info("again by hand: %s", shlex.join(["python", "-m", "dpc", *argv]))


def _peak_memory() -> str:
    own = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        own += f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the GPU"
    return own


def _is_disk_full(error: Exception) -> bool:
    """Return whether the disk, or somebody's share of it, is full; not every library says so by number."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "no space left" in str(error).lower()


def _paths(value: Any) -> list[Path]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Path)]


def _run(stage: str, module: ModuleType, arguments: argparse.Namespace) -> None:
    """Run a stage, alone: its log's name stands for what it writes. A log of success needs no second name."""
    from dpc.storage.provenance import give  # with pandas, which a slip in the arguments need not wait for

    values = {name: value for name, value in vars(arguments).items() if name not in ("settings", "log")}
    settings = [arguments.settings] if "settings" in arguments else []
    give(path for value in values.values() for path in _paths(value))
    if arguments.log is None:
        module.run(*settings, **values)
        return
    claim = Claim(arguments.log.with_suffix(".claim"), f"what {stage} logs to {arguments.log}")
    try:
        with attempts.recorded(arguments.log, stage, _device(arguments)):
            module.run(*settings, **values)
    finally:
        claim.release()
    if kept := _kept(arguments.log):
        kept.unlink(missing_ok=True)


def main(argv: list[str]) -> int:
    """Run one stage; return the exit status."""
    if not argv or argv[0].startswith("-"):
        names = f"{' or '.join(COMMANDS)} ..., or STAGE --settings JSON ...; stages: {', '.join(STAGES)}"
        print(f"usage: python -m dpc {names}", file=sys.stderr)
        return 2
    stage, started = argv[0], time.monotonic()
    os.environ.update(OFFLINE)
    if stage not in (*STAGES, *COMMANDS):
        print(f"error: unknown stage {stage!r}{did_you_mean(stage, (*STAGES, *COMMANDS))}", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS.get(stage, f"dpc.pipeline.stages.{stage}"))
    arguments = _parser(stage, module).parse_args(argv[1:])
    _start_log(arguments.log, is_shown=stage in WORKERS and not sys.stderr.isatty())
    _header(stage, arguments, argv)
    try:
        _run(stage, module, arguments)
    except DpcError as error:
        log.error("error: %s", error)
        return 1
    except KeyboardInterrupt:
        log.info("stopped by a person: what is saved is kept, and the same command goes on from there")
        return INTERRUPTED
    except Exception as error:
        if _is_disk_full(error):
            log.error("error: no space left on the disk; free some and run the same command again: saved work is kept")
            return 1
        log.exception("error: %s stopped by an unexpected fault; please report it with this log", stage)
        return 1
    finally:
        log.info("%s: peak memory %s, %.1f s", stage, _peak_memory(), time.monotonic() - started)
    return 0

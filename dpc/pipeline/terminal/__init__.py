"""The quiet terminal of a run: one line a stage, and on a terminal a last line that moves.

A logger plugin of Snakemake, so that runs on this machine and under `--profile slurm` look alike. Snakemake finds such
plugins only among installed packages, and never in an editable install; `register` makes this one known to it instead.
Snakemake's complete log stays where it is, in `.snakemake/log`.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable
from logging import WARNING, LogRecord
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from dpc.config.messages import QUIET
from dpc.pipeline.terminal.watch import Watch, cut

PLANNED: dict[str, float] = {}
"""Seconds that a job of a rule is estimated to take; `workflow/rules/hooks.smk` fills it before the first job."""
REFRESH_SECONDS = 1.0
_NOISE = (
    "Building DAG", "Using shell", "Provided", "Rules claiming", "Conda environments", "Singularity", "Select jobs",
    "Execute ", "Config file ", "Assuming unrestricted", "Shell command", "Complete log", "Elapsed", "host:",
    "Job stats", "Job ", "Some jobs were triggered", "Rules with provenance", "Reasons:", "This was a dry-run",
    "Would remove", "Would execute", "Exiting because", "At least one job", "WorkflowError:\nAt least one job",
    "RuleException", "Shutting down", "SLURM run ID", "Trying to restart", "Adding ", "Creating report",
    "Downloading resources", "Waiting at most",
)  # fmt: skip
"""How what Snakemake says begins that a line a stage says already."""


def register() -> None:
    """Make the plugin known to Snakemake, as `--logger dpc`."""
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

    LoggerPluginRegistry().register_plugin("snakemake_logger_plugin_dpc", sys.modules[__name__])


class LogHandler(LogHandlerBase):
    """Prints a run to the terminal as a watch counts it."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        os.environ[QUIET] = "1"
        self.out = sys.stdout if self.common_settings.stdout else sys.stderr
        self.watch = Watch(PLANNED)
        self.drawn = threading.Lock()
        self.is_over = threading.Event()
        self.said = set[str]()
        if self.out.isatty() and not self.common_settings.dryrun:
            threading.Thread(target=self._redraw, daemon=True).start()

    def emit(self, record: LogRecord) -> None:
        """Count an event and print what it is worth."""
        event = getattr(record, "event", None)
        told: Callable[[dict[str, Any]], None] | None = {
            LogEvent.RUN_INFO: self._planned, LogEvent.JOB_INFO: self._described, LogEvent.JOB_ERROR: self._failed,
            LogEvent.JOB_FINISHED: self._finished,
        }.get(event) if event else None  # fmt: skip
        if told:
            told(record.__dict__)
        elif event in (None, LogEvent.ERROR):
            self._message(record)

    def close(self) -> None:
        """End the moving line; print what a dry run would do."""
        if not self.is_over.is_set():
            self.is_over.set()
            for line in self.watch.plans() if self.common_settings.dryrun and self.watch.jobs else ():
                self._print(line)
            self._clear()
        super().close()

    def _planned(self, about: dict[str, Any]) -> None:
        if not self.watch.stages:
            self.watch.plan(about["stats"])

    def _described(self, about: dict[str, Any]) -> None:
        is_first = not self.watch.jobs
        self.watch.describe(about["jobid"], about["rule_name"], about["log"], bool(about["output"]), about["reason"])
        if is_first and not self.common_settings.dryrun and (said := self.watch.size()):
            self._print(said)

    def _finished(self, about: dict[str, Any]) -> None:
        if line := self.watch.finish(about["job_id"]):
            self._print(line)

    def _failed(self, about: dict[str, Any]) -> None:
        said = self.watch.fail(about["jobid"], about["rule_name"], about["log"], about["rule_msg"] or "")
        if about["output"]:  # what a target such as `check` found, it has said itself
            self._print(said)

    def _message(self, record: LogRecord) -> None:
        """Print what Snakemake or a rule file says: our own refusals as the one line they are, all else once.

        Slurm's executor says the same of every job that it submits, and of every look at the queue.
        """
        text = str(record.msg or "").strip()
        ours = [line for line in text.splitlines() if line.startswith(("config: ", "check: ", "note: "))]
        if ours:
            self._print("\n".join(ours))
        elif text and not text.startswith(_NOISE) and text not in self.said:
            self.said.add(text)
            self._print(text if record.levelno >= WARNING else text.splitlines()[0])

    def _print(self, line: str) -> None:
        with self.drawn:
            self._clear()
            print(line, file=self.out, flush=True)

    def _clear(self) -> None:
        if self.out.isatty():
            print("\r\033[K", end="", file=self.out, flush=True)

    def _redraw(self) -> None:
        while not self.is_over.wait(REFRESH_SECONDS):
            with self.drawn:
                self._clear()
                print(cut(self.watch.now(), shutil.get_terminal_size().columns - 1), end="", file=self.out, flush=True)

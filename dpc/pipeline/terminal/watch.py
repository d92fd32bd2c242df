"""What a run has done and what is left, counted from Snakemake's events: one line a stage."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dpc.pipeline.terminal.reasons import why

SECONDS = 5.0
"""Of imports, taken for a job of which nothing else is known, and added to the work that `planned` estimates."""
NAME_WIDTH, LONGEST_WARNING, TAIL_BYTES = 21, 90, 4096
_METER = re.compile(r"INFO (?P<meter>.*%\|.*)$", re.MULTILINE)
_STATUS = re.compile(r"SLURM status is: '\w+'")
_WARNING = re.compile(r" WARNING (?P<said>.*)$", re.MULTILINE)


@dataclass
class Stage:
    """All jobs of one rule."""

    total: int
    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    """Of the jobs that are done, added up."""
    began: float | None = None
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Job:
    """One job that runs or has run."""

    rule: str
    logs: list[Path]
    is_work: bool
    """Whether it makes files; a target only asks for them."""
    began: float


class Watch:
    """Counts jobs. `planned` holds the seconds that a job of a rule is estimated to take."""

    def __init__(self, planned: dict[str, float], clock: Callable[[], float] = time.monotonic):
        self.planned, self.clock = planned, clock
        self.stages: dict[str, Stage] = {}
        self.jobs: dict[int, Job] = {}
        self.running: list[int] = []
        self.began = clock()

    def plan(self, counts: dict[str, int]) -> None:
        """Take the number of jobs of every rule."""
        self.stages = {rule: Stage(count) for rule, count in counts.items() if rule != "total"}
        self.began = self.clock()

    def size(self) -> str:
        """Say how much there is to do; nothing of a single target."""
        works = [stage.total for rule, stage in self.stages.items() if self.planned.get(rule) != 0.0]
        return f"{sum(works)} jobs of {len(works)} stages" if works else ""

    def describe(self, jobid: int, rule: str, logs: list[str], is_work: bool, reason: str) -> None:
        """Take what is said of a job when it is about to start."""
        self.jobs[jobid] = Job(rule, [Path(log) for log in logs], is_work, self.clock())
        stage = self.stages.setdefault(rule, Stage(1))
        if (said := why(reason)) not in stage.reasons:
            stage.reasons.append(said)
        if jobid not in self.running:
            self.running.append(jobid)
        stage.began = stage.began if stage.began is not None else self.clock()

    def finish(self, jobid: int) -> str | None:
        """Count a job that is done; return its stage's line where it was the last one."""
        job = self.jobs.get(jobid)
        if job is None or jobid not in self.running:
            return None
        self.running.remove(jobid)
        stage = self.stages[job.rule]
        stage.done += 1
        stage.seconds += self.clock() - job.began
        stage.warnings += [said for log in job.logs for said in _WARNING.findall(_text(log))]
        return self.line(job.rule) if stage.done == stage.total and job.is_work else None

    def fail(self, jobid: int, rule: str, logs: list[str], message: str) -> str:
        """Return the line of a job that failed; Snakemake may try it again. `message` is what its executor says."""
        if jobid in self.running:
            self.running.remove(jobid)
        self.stages.setdefault(rule, Stage(1)).failed += 1
        where = next((log for log in logs if Path(log).is_file()), None)
        status = _STATUS.search(message)
        return f"{rule:<{NAME_WIDTH}}a job failed{f' ({status[0]})' if status else ''}{f': {where}' if where else ''}"

    def line(self, rule: str) -> str:
        """Return what there is to say of a stage: how many jobs, how long, what is left, warnings, why again."""
        stage = self.stages[rule]
        took = self.clock() - (stage.began if stage.began is not None else self.began)
        parts = [f"{rule:<{NAME_WIDTH}}{stage.done:>4} of {stage.total:<4}{clock_text(took):>8}   {self.left():<20}"]
        if stage.failed:
            parts.append(f"{stage.failed} failed and tried again")
        if stage.warnings:
            count = f"{len(stage.warnings)} warning{'s' * (len(stage.warnings) > 1)}"
            parts.append(f"{count}: {cut(stage.warnings[0], LONGEST_WARNING)}")
        parts += [f"again: {cut(said, LONGEST_WARNING)}" for said in stage.reasons if "→" in said]
        return "  ".join(parts).rstrip()

    def plans(self) -> Iterator[str]:
        """Yield a line for every stage of a run that is only planned: how many jobs, and why."""
        works = {job.rule for job in self.jobs.values() if job.is_work}
        jobs = sum(self.stages[rule].total for rule in works)
        yield f"{jobs} jobs of {len(works)} stages would run"
        for rule, stage in self.stages.items():
            if rule in works:
                yield f"{rule:<{NAME_WIDTH}}{stage.total:>4}   {cut('; '.join(stage.reasons), 2 * LONGEST_WARNING)}"

    def left(self) -> str:
        """Say how long the rest takes, by jobs that are done and the estimate of others; nothing before the first."""
        waiting, done = self._seconds_left(), sum(stage.seconds for stage in self.stages.values())
        elapsed = self.clock() - self.began
        if not (done and elapsed):
            return ""
        at_once = max(1.0, done / elapsed)
        return time_text(waiting / at_once) if waiting else ""

    def _seconds_left(self) -> float:
        """Return the seconds of jobs that are not done, one after the other."""
        alone = {rule: SECONDS + seconds if seconds else 0.0 for rule, seconds in self.planned.items()}
        known = [(stage, alone[rule]) for rule, stage in self.stages.items() if rule in alone]
        planned = sum(stage.done * each for stage, each in known)
        pace = sum(stage.seconds for stage, _ in known) / planned if planned else 1.0
        total = 0.0
        for rule, stage in self.stages.items():
            guess = alone[rule] * pace if rule in alone else SECONDS
            total += (stage.total - stage.done) * (stage.seconds / stage.done if stage.done else guess)
        return max(0.0, total - sum(self.clock() - self.jobs[jobid].began for jobid in self.running))

    def now(self) -> str:
        """Return what the last line of a terminal shows: how far a job is, how many more run or wait, what is left."""
        works = [self.jobs[jobid] for jobid in self.running if self.jobs[jobid].is_work]
        if not works:
            return ""
        meters = [(job, meter) for job in works if (meter := _meter(job.logs))]
        job, meter = meters[0] if meters else (works[0], f"{clock_text(self.clock() - works[0].began)} so far")
        more = f" (+ {len(works) - 1} more)" if len(works) > 1 else ""
        stage = self.stages[job.rule]
        left = self.left()
        return f"{job.rule} {stage.done + 1} of {stage.total}: {meter}{more}{', all: ' + left if left else ''}"


def _text(log: Path) -> str:
    try:
        return log.read_text(errors="replace")
    except OSError:  # a failed job's log may be gone, one on another machine not here yet
        return ""


def _meter(logs: list[Path]) -> str:
    """Return the last line of progress that a job has logged."""
    for log in logs:
        try:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - TAIL_BYTES))
                found = _METER.findall(file.read().decode(errors="replace"))
        except OSError:
            continue
        if found:
            return re.sub(r"\|[^|]*\|", "", str(found[-1]))
    return ""


def cut(text: str, longest: int) -> str:
    """Return `text`, or how it begins."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def clock_text(seconds: float) -> str:
    """Return 75 as `1:15`, 3,700 as `1:01:40`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def time_text(seconds: float) -> str:
    """Return how long something still takes, roughly."""
    if seconds < 90:
        return "about a minute left"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left" if seconds < 36000 else f"about {seconds / 3600:.0f} h left"

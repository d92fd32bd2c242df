"""The quiet terminal: one line a stage, why it runs again, what is left; nothing of what Snakemake says beside it."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from dpc.config.messages import QUIET
from dpc.config.settings import load_config
from dpc.pipeline import command_line, last_run, terminal
from dpc.pipeline.terminal.reasons import why
from dpc.pipeline.terminal.watch import Watch
from tests.support import config_tree as tree
from tests.support.workflow import nested, overlay

PARAMS = "Params have changed since last execution: Union of exclusive params before and now across all output: "
BEFORE = json.dumps({"trigger": {"kappa": 1.0, "share": "fitted"}, "grid": [0.1, 0.2], "text": "it's \\frac"})


def changed(**now: Any) -> str:
    return f"{PARAMS}before: '{BEFORE}' now: '{json.dumps({**json.loads(BEFORE), **now})}' "


REASONS = [
    (changed(trigger={"kappa": 1.5, "share": "fitted"}), "trigger.kappa 1.0 → 1.5"),
    (changed(trigger={"kappa": 1.5, "share": 0.3}), 'trigger.kappa 1.0 → 1.5; trigger.share "fitted" → 0.3'),
    (changed(grid=[0.1]), "grid [0.1, 0.2] → [0.1]"),
    (changed(columns={"question": "q"}), 'columns.question none → "q"'),
    (f"{PARAMS}before: 3 now: 4 ", "version of the stage 3 → 4"),
    (f"{PARAMS}before: {BEFORE},3 now: {BEFORE},4 ", "version of the stage 3 → 4"),
    ("Missing output files: results/a.parquet, results/b.parquet", "not made yet"),
    ("Input files updated by another job: results/a.parquet", "its inputs are made anew"),
    ("Updated input files: train.jsonl", "an input is newer"),
    ("Forced execution", "asked for by name"),
]


@pytest.mark.parametrize(("reason", "said"), REASONS, ids=[said for _, said in REASONS])
def test_a_job_that_runs_again_says_which_key_changed(reason: str, said: str) -> None:
    assert why(reason) == said


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watch(planned: dict[str, float], **counts: int) -> tuple[Watch, Clock]:
    clock = Clock()
    found = Watch(planned, clock)
    found.plan({**counts, "total": sum(counts.values())})
    return found, clock


def test_a_stage_is_one_line_when_its_last_job_is_done(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("2026 INFO settings\n2026 WARNING no head is confirmed\n2026 WARNING again\n")
    found, clock = watch({}, tune_prompt=2)
    for jobid in (1, 2):
        found.describe(jobid, "tune_prompt", [str(log)], True, REASONS[0][0])
        clock.now += 40
        line = found.finish(jobid)
        assert (line is None) == (jobid == 1)
    assert line == (
        "tune_prompt             2 of 2       1:20                         4 warnings: no head is confirmed  "
        "again: trigger.kappa 1.0 → 1.5"
    )


@pytest.mark.parametrize(
    ("planned", "left"),
    [
        ({}, 60 + 3 * 5),  # another job like the first, and three of which nothing is known
        ({"generate": 55.0, "measure": 595.0}, 60 + 3 * 600),  # the first took as long as planned, imports and work
        ({"generate": 25.0, "measure": 295.0}, 60 + 3 * 600),  # twice as long: so will the others
        ({"generate": 1.0, "measure": 95.0}, 60 + 3 * 1000),  # a job that is all imports says little of work
    ],
)
def test_what_is_left_goes_by_jobs_that_are_done_and_the_estimate(planned: dict[str, float], left: float) -> None:
    found, clock = watch(planned, generate=2, measure=3)
    assert found.left() == ""
    found.describe(1, "generate", [], True, "")
    clock.now += 60
    found.finish(1)
    said = found.left()
    assert said == (f"about {left / 60:.0f} min left" if left >= 90 else "about a minute left")
    for jobid in (2, 3):  # two at once: half the time
        found.describe(jobid, "measure", [], True, "")
    clock.now += 600
    assert found.left() != said


def test_the_last_line_shows_how_far_the_running_job_is(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("2026 INFO saliency:  43%|####    | 120/280 [00:31<00:41,  3.9question/s]\n")
    found, clock = watch({}, extract_saliency=6)
    found.describe(1, "extract_saliency", [str(log)], True, "")
    found.describe(2, "extract_saliency", [str(tmp_path / "none.log")], True, "")
    clock.now += 31
    assert found.now() == ("extract_saliency 1 of 6: saliency:  43% 120/280 [00:31<00:41,  3.9question/s] (+ 1 more)")


@pytest.mark.parametrize(
    ("message", "said"),
    [("", ""), ("SLURM-job '7' failed, SLURM status is: 'NODE_FAIL'. For", " (SLURM status is: 'NODE_FAIL')")],
)
def test_a_job_that_fails_is_told_at_once_and_counted(message: str, said: str, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.touch()
    found, _ = watch({}, plan=1)
    found.describe(1, "plan", [str(log)], True, "")
    assert (
        found.fail(1, "plan", [str(tmp_path / "none"), str(log)], message) == f"plan{' ' * 17}a job failed{said}: {log}"
    )
    found.describe(1, "plan", [str(log)], True, "")
    assert "1 failed and tried again" in str(found.finish(1))


# What Snakemake hands over, and what becomes of it.


def told(monkeypatch: pytest.MonkeyPatch, *records: dict[str, Any], dryrun: bool = False) -> list[str]:
    monkeypatch.setenv(QUIET, "1")
    settings: Any = SimpleNamespace(stdout=False, dryrun=dryrun)
    handler = terminal.LogHandler(settings, None)
    handler.out = io.StringIO()
    for record in records:
        handler.emit(logging.makeLogRecord({"levelno": logging.INFO, "msg": None, **record}))
    handler.close()
    return handler.out.getvalue().splitlines()


def job(jobid: int, rule: str, *output: str, reason: str = "") -> dict[str, Any]:
    return {
        "event": LogEvent.JOB_INFO,
        "jobid": jobid,
        "rule_name": rule,
        "log": [],
        "output": output,
        "reason": reason,
    }


STATS = {"event": LogEvent.RUN_INFO, "stats": {"plan": 2, "total": 2}}


def test_snakemakes_own_words_are_left_out_and_ours_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"event": LogEvent.ERROR, "levelno": logging.ERROR}
    lines = told(
        monkeypatch,
        {"msg": "Building DAG of jobs..."},
        {"msg": "Nothing to be done (all requested files are present and up to date)."},
        {**error, "msg": 'WorkflowError in file "common.smk", line 38:\nconfig: unknown key `a` (mine.yaml:3)'},
        {**error, "msg": "MissingRuleException:\nNo rule to produce x"},
        {"levelno": logging.WARNING, "msg": "note: results/a was made with a.yaml"},
    )
    assert lines == [
        "Nothing to be done (all requested files are present and up to date).",
        "config: unknown key `a` (mine.yaml:3)",
        "MissingRuleException:", "No rule to produce x",
        "note: results/a was made with a.yaml",
    ]  # fmt: skip


NO_ACCOUNTS = (
    "Both 'sacctmgr' and 'sshare' returned empty results for account 'a'. Proceeding without account validation."
)
QUEUE = "Falling back to 'sacct' for status queries (MinJobAge=300; threshold=120s)."
GUESSED = "No SLURM account given, trying to guess."


def test_a_run_on_slurm_is_as_quiet_as_one_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 jobs of 10 stages, with all that snakemake-executor-plugin-slurm 2 says of each."""
    rules = {f"stage{number}": 3 for number in range(10)}
    records: list[dict[str, Any]] = [
        {"event": LogEvent.RUN_INFO, "stats": {**rules, "total": 30}},
        {"msg": "SLURM run ID: 1b2c"},
        {"msg": GUESSED, "levelno": logging.WARNING},
    ]
    for number, rule in enumerate(name for name, count in rules.items() for _ in range(count)):
        records += [
            job(number, rule, f"{number}.parquet"),
            {"msg": NO_ACCOUNTS, "levelno": logging.WARNING},
            {"msg": f"Job {number} has been submitted with SLURM jobid 9{number} (log: {number}.log)."},
            {"msg": QUEUE},
            {"msg": f"Waiting at most 60 seconds for missing files:\n{number}.parquet (missing locally)"},
            {"event": LogEvent.JOB_FINISHED, "job_id": number},
        ]
    lines = told(monkeypatch, *records)
    assert lines[0] == GUESSED
    assert [line for line in lines if not line.startswith("stage")] == [
        GUESSED,
        "30 jobs of 10 stages",
        NO_ACCOUNTS,
        QUEUE,
    ]
    assert [line.split()[0] for line in lines if line.startswith("stage")] == list(rules)


@pytest.mark.parametrize(
    ("words", "quiet"),
    [
        ("--configfile mine.yaml --cores all", True),
        ("--configfile mine.yaml --report-after-run --report r.html", True),  # what `make study` types
        ("--configfile mine.yaml --report r.html", False),
        ("--profile slurm --configfile mine.yaml", True),
        ("--cores 2 --verbose", False),
        ("-n -q rules", False),
        ("figures -p", False),
    ],
)
def test_snakemakes_own_output_is_there_where_it_is_asked_for(words: str, quiet: bool) -> None:
    assert command_line.is_quiet(words.split()) == quiet


def test_a_dry_run_says_what_would_run_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "Missing output files: a"
    jobs = [job(1, "plan", "a", reason=reason), job(2, "plan", "b", reason=REASONS[0][0])]
    assert told(monkeypatch, STATS, *jobs, STATS, dryrun=True) == [
        "2 jobs of 1 stages would run",
        "plan                    2   not made yet; trigger.kappa 1.0 → 1.5",
    ]


# What the last run into a folder was told.


def test_settings_that_share_a_folder_and_keys_that_changed_are_named(tmp_path: Path) -> None:
    raw = overlay(tree.demo(), nested("study.results", str(tmp_path)))
    config = load_config(raw)
    assert last_run.notes(config, ["mine.yaml"]) == []
    last_run.record(config, ["mine.yaml"])
    assert last_run.notes(config, ["mine.yaml"]) == []
    (shared,) = last_run.notes(config, ["other.yaml"])
    assert shared.startswith(f"note: {tmp_path} was made with mine.yaml, and this run is told other.yaml: ")
    edits = {"trigger": {"kappa": 1.5}, "execution": {"threads": 3}, "models": {"llama3-8b": {"parameters": 9.0}}}
    assert last_run.notes(load_config(overlay(raw, edits)), ["mine.yaml"]) == [
        "note: changed since the last run: trigger.kappa 1.0 → 1.5"
    ]

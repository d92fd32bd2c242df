"""The torch stages under SIGKILL, at the moments that matter: resumed to the same bytes, with nothing left over."""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpc.prompts.tuners import TUNERS
from dpc.storage import tables
from tests.support import resumable, searches
from tests.support.paths import ROOT

pytestmark = [pytest.mark.proof, pytest.mark.long]

KILLS = 5
"""Of each stage, at one event of every kind or more; then one job of each that is killed again and again."""
STAGES = (
    "tune_prompt", "unprompted", "generate_base", "select_act_heads", "generate_act", "extract_saliency",
    "extract_corrupted", "extract_variants", "regenerate",
)  # fmt: skip
BATCHES = dict.fromkeys(STAGES, 6) | {
    "tune_prompt": 8, "select_act_heads": 5, "generate_act": 4, "extract_corrupted": 9, "extract_variants": 8,
}  # fmt: skip
"""Batches or steps of an undisturbed run; `regenerate` has those of earlier plans in its store."""


class Killing:
    """A process that has torch loaded and forks stages, see `tests/support/killing.py`."""

    def __init__(self, folder: Path):
        self.folder, self.made = folder, folder / "made"
        self.made.mkdir()
        command = [sys.executable, "-m", "tests.support.killing", str(self.made)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._answer() == 0

    def _answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def run(
        self, stage: str, out: Path, kill_at: int | None = None, earlier: bool = False, **changed: Any
    ) -> tuple[int, list[str]]:
        """Run a stage that writes to `out` and kills itself at an event; return its status and its events."""
        argv = resumable.commands(self.made, out, **changed)[stage]
        argv = resumable.earlier_plans(argv) if earlier else argv
        trace = self.folder / "trace"
        request = {"argv": argv, "trace": str(trace), "kill_at": kill_at, "under": str(out)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        status = self._answer()
        assert status in (0, -9), trace.with_name("trace.err").read_text()
        return status, trace.read_text().split()

    def prepare(self, stage: str, out: Path) -> Path:
        """Do what comes before: a store of `regenerate` holds the edits of earlier plans."""
        if stage == "regenerate":
            assert self.run(stage, out, earlier=True)[0] == 0
        return out


@pytest.fixture(scope="module")
def killing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killing]:
    killing = Killing(tmp_path_factory.mktemp("kills"))
    yield killing
    assert killing.process.stdin is not None
    killing.process.stdin.close()
    assert killing.process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def undisturbed(killing: Killing) -> dict[str, tuple[dict[str, bytes], list[str]]]:
    """Files and events of every stage's undisturbed run."""
    found = {}
    for stage in STAGES:
        out = killing.prepare(stage, killing.folder / "undisturbed" / stage)
        status, events = killing.run(stage, out)
        assert status == 0
        assert events.count("batch") == BATCHES[stage]
        found[stage] = (without_store(out), events)
    return found


def without_store(out: Path) -> dict[str, bytes]:
    """Return what lies under `out`, after a look at the one file that a store may leave behind."""
    found = resumable.files(out)
    stored = [name for name in found if "store" in Path(name).parts]
    assert len(stored) <= 1
    for name in stored:
        rows = tables.read(out / name, "regenerations")
        assert len(rows) == len(rows.drop_duplicates(["problem_id", "edit_id"])) == 33
        del found[name]
    return found


def moments(stage: str, events: list[str]) -> list[int]:
    """Return events to be killed at: one of each kind, and others; the last ones are as likely as any."""
    rng = random.Random(f"kills {stage}")
    chosen = [rng.choice([i for i, name in enumerate(events) if name == kind]) for kind in sorted(set(events))]
    others = [i for i in range(len(events)) if i not in chosen]
    return sorted(chosen + rng.sample(others, KILLS - len(chosen)))


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_resumes_to_the_same_bytes(
    killing: Killing, undisturbed: Any, tmp_path: Path, stage: str
) -> None:
    files, events = undisturbed[stage]
    for moment in moments(stage, events):
        out = killing.prepare(stage, tmp_path / str(moment))
        status, until = killing.run(stage, out, kill_at=moment)
        assert (status, until) == (-9, events[: moment + 1])
        status, after = killing.run(stage, out)
        assert status == 0
        assert without_store(out) == files, (stage, moment, events[moment])
        if "deleting" not in events[moment] or stage == "regenerate":  # who deletes a store has written the output
            lost = "named" not in until[last_batch(until) :]
            assert until.count("batch") + after.count("batch") == BATCHES[stage] + lost


def last_batch(events: list[str]) -> int:
    return len(events) - 1 - events[::-1].index("batch")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_again_and_again_ends(killing: Killing, undisturbed: Any, tmp_path: Path, stage: str) -> None:
    out, rng = killing.prepare(stage, tmp_path / "out"), random.Random(stage)
    for _ in range(3):
        assert killing.run(stage, out, kill_at=rng.randint(1, 7))[0] == -9
    assert killing.run(stage, out)[0] == 0
    assert without_store(out) == undisturbed[stage][0]


SOFT: dict[str, dict[str, Any]] = {
    "placebo": {}, "low_rank": {"rank": 2}, "mixture": {"prompts": 3}, "info": {"worst": 9.0, "bank": 20},
}  # fmt: skip
AFTER_STEP = ["batch", "half", "whole", "named"]
"""What a step brings about, up to its saved state."""


def test_no_tuner_is_left_out() -> None:
    assert {"prompt_tuning", *SOFT, *searches.OPTIONS} == set(TUNERS)


@pytest.mark.parametrize("tuner", [*SOFT, *searches.OPTIONS])
def test_a_tuner_killed_at_each_step_ends_with_the_same_bytes(killing: Killing, tmp_path: Path, tuner: str) -> None:
    """Each process saves one step and is killed in the next one, so that every step's state is taken up once."""
    if tuner in SOFT:
        recipe = resumable.RECIPE | {"tuner": tuner, "options": SOFT[tuner]}
    else:
        recipe = {"tuner": tuner, "vectors": 4, "options": searches.OPTIONS[tuner]}
    status, events = killing.run("tune_prompt", tmp_path / "whole", recipe=recipe)
    steps = events.count("batch")
    assert (status, steps) == (0, recipe.get("steps", steps))
    for _ in range(steps - 1):
        status, until = killing.run("tune_prompt", tmp_path / "out", kill_at=len(AFTER_STEP), recipe=recipe)
        assert (status, until) == (-9, [*AFTER_STEP, "batch"])
    status, events = killing.run("tune_prompt", tmp_path / "out", recipe=recipe)
    assert (status, events.count("batch")) == (0, 1)
    assert without_store(tmp_path / "out") == without_store(tmp_path / "whole")


def until_there(folder: Path, pattern: str) -> None:
    for _ in range(600):
        if any(folder.glob(pattern)):
            return
        time.sleep(0.05)
    raise AssertionError(f"no {pattern}")


def log_of(out: Path) -> str:
    return (out / "stage.log").read_text()


SLOW = {"max_new_tokens": 80}


def slow(killing: Killing, out: Path) -> list[str]:
    """Return a command line that works for seconds and saves every batch."""
    line = resumable.commands(killing.made, out, **SLOW)["generate_base"]
    return [sys.executable, "-m", "dpc", *line, f"--log={out}/stage.log"]


def test_a_warning_signal_saves_and_stops(killing: Killing, tmp_path: Path) -> None:
    """A cold process, as on a cluster, whose parents ignore the signal for themselves."""
    command = ["bash", "-c", f"trap '' USR1; exec {shlex.join(slow(killing, tmp_path))}"]
    stage = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    until_there(tmp_path, "store/*/*.parquet")
    stage.send_signal(10)  # SIGUSR1
    _, errors = stage.communicate(timeout=60)
    assert stage.returncode == 1
    assert "error: stopped by SIGUSR1 before the time limit: " in errors
    assert " of 22 questions kept; run the same command again to go on" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "generations.parquet").exists()


def test_the_warm_server_passes_a_stop_on(killing: Killing, tmp_path: Path) -> None:
    """The caller of a stage passes the signal on, and waits until the stage has saved."""
    script = (
        f"{shlex.join(slow(killing, tmp_path))} & caller=$!; "
        f"for i in $(seq 600); do ls {tmp_path}/store/*/*.parquet 2>/dev/null && break; sleep 0.05; done; "
        f"kill -USR1 $caller; wait $caller; echo status $?; "
        f"for i in $(seq 600); do grep -q 'peak memory' {tmp_path}/stage.log && break; sleep 0.05; done"
    )
    command = [sys.executable, "-m", "dpc.pipeline.cluster.warm", "--", "bash", "-c", script]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=120)
    assert "status 1\n" in done.stdout, done.stderr
    assert "error: stopped by SIGUSR1 before the time limit: " in log_of(tmp_path)
    assert any(tmp_path.glob("store/*/*.parquet"))

"""The warm server: same streams, folder, status and results as a stage run by itself, and nothing left behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workflow import ROOT


def warm(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script with a warm server beside it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    command = [sys.executable, "-m", "dpc.warm", "--", "bash", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_status_and_streams_come_back(tmp_path: Path) -> None:
    done = warm("$PYTHON -m dpc studdy; echo status $?; $PYTHON -m dpc study --settings '{}'; echo status $?", tmp_path)
    assert done.returncode == 0
    assert done.stdout.split("\n")[:2] == ["status 2", "status 2"]
    assert "unknown stage 'studdy'; did you mean 'study'?" in done.stderr


def test_the_commands_own_status_is_returned(tmp_path: Path) -> None:
    assert warm("exit 7", tmp_path).returncode == 7


def test_a_stage_writes_in_the_callers_folder(tmp_path: Path) -> None:
    settings = (
        '{"dataset": "d", "task": "arithmetic", "generate": 1, "template": "{question}", '
        '"splits": {"tuning": 4, "validation": 2, "calibration": 2, "act_select": 0, "act_confirm": 0, "test": 3}}'
    )
    gold = " ".join(
        f"gold/{split}.parquet"
        for split in ("tuning", "validation", "calibration", "act_select", "act_confirm", "test")
    )
    line = f"$PYTHON -m dpc problems --settings '{settings}' --train --test --questions q.parquet --gold {gold}"
    done = warm(f"{line} --log made.log; echo $?; pgrep -f dpc.warm | wc -l", tmp_path)
    assert done.stdout.split()[0] == "0", done.stderr
    assert (tmp_path / "q.parquet").is_file()
    assert "again by hand" in (tmp_path / "made.log").read_text()


def waiting_stage(folder: Path) -> str:
    """Return a shell line whose stage reads a pipe nobody writes to: it would wait for ever."""
    os.mkfifo(folder / "rows.jsonl")
    settings = (
        '{"dataset": "d", "task": "gsm8k", "generate": null, "template": "{question}", '
        '"splits": {"tuning": 4, "validation": 2, "calibration": 2, "act_select": 0, "act_confirm": 0, "test": 3}}'
    )
    gold = " ".join(
        f"gold/{split}.parquet"
        for split in ("tuning", "validation", "calibration", "act_select", "act_confirm", "test")
    )
    files = f"--train --test rows.jsonl --questions q.parquet --gold {gold}"
    started = "for i in $(seq 300); do grep -q 'by hand' stage.log 2>/dev/null && break; sleep 0.1; done; sleep 1"
    return f"$PYTHON -m dpc problems --settings '{settings}' {files} --log stage.log & caller=$!; {started}"


def is_read(fifo: Path) -> bool:
    """Say whether a process still reads the pipe."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno != errno.ENXIO
    return True


@pytest.mark.parametrize("end", ["kill -9 $caller; sleep 2", "true"])
def test_no_stage_outlives_its_caller_or_the_command(tmp_path: Path, end: str) -> None:
    line = waiting_stage(tmp_path)
    done = warm(f"{line}; {end}; echo over", tmp_path)
    assert "over" in done.stdout
    assert "by hand" in (tmp_path / "stage.log").read_text()
    time.sleep(0.5)
    assert not is_read(tmp_path / "rows.jsonl")

"""A stop in the middle of a batch: soon, with what was said so far kept, and the same bytes when the stage goes on."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from dpc.config.execution import Execution
from dpc.errors import DpcError
from dpc.pipeline.cli import main
from dpc.pipeline.generation import _Watch
from dpc.pipeline.progress import progress
from dpc.storage import interrupt
from dpc.storage.interrupt import SIGNALS, Abandoned, interruptible
from dpc.storage.store import BEGUN, Store
from tests.support import resumable

DECODING = ("unprompted", "generate_base", "generate_act", "regenerate")


def passes(command: list[str], log: Path) -> int:
    """Run a stage to its end and return how many passes its log counts."""
    assert main([*command, f"--log={log}"]) == 0
    (line,) = [line for line in log.read_text().splitlines() if "passes behind the prefill" in line]
    return int(line.split(" passes")[0].split()[-1])


@pytest.mark.usefixtures("still_clocks")
@pytest.mark.parametrize("stage", DECODING)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_a_batch_keeps_what_was_said(
    stage: str,
    number: signal.Signals,
    small_cell: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    undisturbed = passes(resumable.commands(small_cell, whole)[stage], tmp_path / "whole.log")
    command, beat, beats = resumable.commands(small_cell, again)[stage], _Watch.beat, list[int]()

    def counted(self: _Watch, *seen: object) -> None:
        beats.append(1)
        if len(beats) == 11:
            os.kill(os.getpid(), number)
        beat(self, *seen)  # type: ignore[arg-type]

    monkeypatch.setattr(_Watch, "beat", counted)
    assert main(command) == 1
    assert "error: stopped by SIG" in capsys.readouterr().err
    assert len(beats) == 11
    (file,) = again.glob(f"store/*/{BEGUN}")
    said = json.loads(file.read_text())["said"]
    assert len(said) >= resumable.BATCH  # more have begun where some have ended
    assert any(len(tokens) > 1 for _, tokens in said)
    assert passes(command, tmp_path / "again.log") < undisturbed
    assert resumable.outputs(again) == resumable.outputs(whole)
    assert not list(again.glob(f"store/*/{BEGUN}"))


@pytest.mark.usefixtures("still_clocks")
def test_what_another_context_said_is_not_used(small_cell: Path, tmp_path: Path) -> None:
    store = Store(tmp_path, "generations", "c", Execution(device="cpu"))
    assert store.begun() == {}
    store.keep_begun({("q1", "base"): [3, 4]})
    assert store.begun() == {("q1", "base"): [3, 4]}
    assert Store(tmp_path, "generations", "other", Execution(device="cpu")).begun() == {}


@pytest.mark.parametrize("number", SIGNALS)
def test_a_batch_that_knows_no_stop_is_abandoned(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupt, "GRACE_SECONDS", 0.2)

    def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        yield left.iloc[:1]
        os.kill(os.getpid(), number)
        ended = time.monotonic() + 30
        while time.monotonic() < ended:
            sum(range(1000))
        yield left.iloc[1:]

    store, started = (
        Store(tmp_path, "generations", "c", Execution(device="cpu", save_every_seconds=3600)),
        time.monotonic(),
    )
    with pytest.raises(DpcError, match="1 of 2 questions kept; run the same command again to go on"):
        store.complete(resumable.rows_of("a", "b"), make)
    assert time.monotonic() - started < 10
    assert len(list(tmp_path.glob("*.parquet"))) == 1


def test_what_may_not_be_abandoned_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "GRACE_SECONDS", 0.1)

    def wait(seconds: float = 0.5) -> bool:
        ended = time.monotonic() + seconds
        while time.monotonic() < ended:
            sum(range(1000))
        return True

    with interruptible() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert wait()
        with asked.abandonable():  # too late to matter: whoever works asks before the next unit
            assert wait(0.1)
        assert asked() == "SIGTERM"
    with interruptible() as asked, asked.abandonable():
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(Abandoned):
            wait(5)
    with interruptible() as asked:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert wait(0.3)  # the timer went with the block


def test_a_block_around_hears_what_came_within() -> None:
    with interruptible() as around:
        with interruptible() as within:
            os.kill(os.getpid(), signal.SIGUSR1)
        assert (within(), around()) == ("SIGUSR1", "SIGUSR1")
        with interruptible() as later:
            pass
        assert later() == ""


def test_a_line_of_progress_comes_in_the_middle_of_a_batch(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO), progress(100, "generate", "question") as bar:
        for second in range(1, 26):
            now[0] = float(second)
            bar.show(second, tokens_per_s=50.0)
    lines = [record.message for record in caplog.records]
    assert [line.split("|")[2].split()[0] for line in lines] == ["10/100", "20/100"]
    assert all("tokens_per_s=50" in line and "<" in line for line in lines)


def test_the_watch_looks_up_and_saves_by_the_clock(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpc.lm.decoding import Request
    from dpc.pipeline.generation import Job

    now, saves = [0.0], list[float]()
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(Store, "keep_begun", lambda self, said: saves.append(now[0]))
    store = Store(tmp_path, "generations", "c", Execution(device="cpu"))
    jobs = [Job(f"q{i}", "test", "base", Request([1], None)) for i in range(4)]
    with caplog.at_level(logging.INFO), progress(4, "generate", "question") as bar:
        watch = _Watch(jobs, store, bar, 60)
        for second in range(1, 131):
            now[0] = float(second)
            watch.beat([0, 1, 2], [[5] * second] * 3, 2)
    assert saves == [60.0, 120.0]
    lines = [record.message for record in caplog.records]
    assert len(lines) == 13
    assert all("1/4" in line and "tokens_per_s=3" in line for line in lines)

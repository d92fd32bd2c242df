"""A tuning that was cut off goes on to the very same prompt. `tests/pipeline/test_kills.py` kills whole processes."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dpc.lm.examples import Example
from dpc.pipeline.cli import main
from dpc.pipeline.progress import Progress
from dpc.prompts.tuners.checkpoint import Checkpoint
from dpc.prompts.tuners.prompt_tuning import Batches, Tuning
from dpc.storage import interrupt, tables
from tests.prompts.test_soft_tuners import KINDS
from tests.prompts.test_training import tuned, tuning
from tests.support import resumable, tiny

SHORT = {"steps": 9, "validate_every": 2, "batch_size": 5}
STEPS = resumable.RECIPE["steps"]


def same(one: Tuning, other: Tuning) -> bool:
    tensors = torch.equal(one.kept_ND, other.kept_ND) and torch.equal(one.prompt_ND, other.prompt_ND)
    return tensors and (one.looks, one.kept_step, one.step) == (other.looks, other.kept_step, other.step)


@pytest.mark.parametrize("steps", range(1, 10))
def test_a_tuning_resumed_after_any_step_ends_as_if_undisturbed(tmp_path: Path, steps: int) -> None:
    """The second process knows nothing that it did not read: it begins with another seed."""
    file, lm = tmp_path / "kept.safetensors", tiny.model()
    first, second = tuning(lm, 0, **SHORT), tuning(lm, 1, **SHORT)
    for _ in range(steps):
        first.advance()
    Checkpoint(file, "this", 0).save(first)
    Checkpoint(file, "this", 0).resume(second)
    assert second.step == steps
    while not second.is_over:
        second.advance()
    assert same(second, tuned(lm, 0, **SHORT))
    assert not same(second, tuned(lm, 1, **SHORT))


def test_saving_waits_for_its_time(tmp_path: Path) -> None:
    file, work = tmp_path / "kept.safetensors", tuning(tiny.model(), **SHORT)
    work.advance()
    Checkpoint(file, "this", 3600).save(work)
    assert not file.exists()
    Checkpoint(file, "this", 3600).save(work, now=True)
    assert file.exists()


def test_what_does_not_belong_here_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, lm = tmp_path / "kept.safetensors", tiny.model()
    work, other = tuning(lm, **SHORT), tuning(lm, **SHORT)
    work.advance()
    Checkpoint(file, "this", 0).save(work)
    with caplog.at_level(logging.INFO):
        Checkpoint(file, "that", 0).resume(other)
        file.write_bytes(file.read_bytes()[:-100])
        Checkpoint(file, "this", 0).resume(other)
        Checkpoint(tmp_path / "none", "this", 0).resume(other)
    assert other.step == 0
    assert same(other, tuning(lm, **SHORT))
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "was made with other code, settings, model or questions; tuning starts again" in caplog.text
    assert "found no checkpoint" in caplog.text


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Return a function that has `act` done at step `number` of a process (from 1) and lists the losses of steps."""
    epoch, add = time.gmtime(0), Progress.add
    monkeypatch.setattr("time.gmtime", lambda *_: epoch)
    monkeypatch.setattr("dpc.storage.provenance.peak_gb", lambda: 0.0)

    def arrange(number: int = 0, act: Callable[[], None] = lambda: None) -> list[float]:
        losses: list[float] = []

        def counted(self: Progress, count: int, **figures: float) -> None:
            losses.append(figures["loss"])
            if len(losses) == number:
                act()
            add(self, count, **figures)

        monkeypatch.setattr(Progress, "add", counted)
        return losses

    return arrange


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_saves_stops_and_says_so(
    small_cell: Path,
    tmp_path: Path,
    at_step: Callable[..., list[float]],
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    losses = at_step()
    assert main(resumable.commands(small_cell, tmp_path / "whole")["tune_prompt"]) == 0
    assert len(losses) == STEPS
    command = resumable.commands(small_cell, tmp_path / "out", save_every=3600)["tune_prompt"]
    before = at_step(5, lambda: os.kill(os.getpid(), number))
    assert main(command) == 1
    assert f"5 of {STEPS} steps kept; run the same command again to go on" in capsys.readouterr().err
    assert list(resumable.files(tmp_path / "out")) == ["store/prompt.safetensors"]
    after = at_step()
    assert main(command) == 0
    assert before + after == losses
    assert resumable.files(tmp_path / "out") == resumable.files(tmp_path / "whole")


def test_a_step_that_a_stop_cannot_wait_for_is_done_again(
    small_cell: Path,
    tmp_path: Path,
    at_step: Callable[..., list[float]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The signal comes when the step has drawn its questions, and the step would take half a minute."""
    losses = at_step()
    assert main(resumable.commands(small_cell, tmp_path / "whole")["tune_prompt"]) == 0
    monkeypatch.setattr(interrupt, "GRACE_SECONDS", 0.1)
    before, draw = at_step(), Batches.next

    def stuck(batches: Batches) -> list[Example]:
        drawn = draw(batches)
        if len(before) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            ended = time.monotonic() + 30
            while time.monotonic() < ended:
                time.sleep(0.01)
        return drawn

    command = resumable.commands(small_cell, tmp_path / "out", save_every=3600)["tune_prompt"]
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "next", stuck)
        assert main(command) == 1
    assert f"stopped by SIGTERM: 4 of {STEPS} steps kept" in capsys.readouterr().err
    after = at_step()
    assert main(command) == 0
    assert before + after == losses
    assert resumable.files(tmp_path / "out") == resumable.files(tmp_path / "whole")


@pytest.mark.parametrize("name", KINDS)
def test_every_soft_tuner_that_is_stopped_ends_with_the_same_bytes(
    small_cell: Path, tmp_path: Path, at_step: Callable[..., list[float]], name: str
) -> None:
    tuner, options = KINDS[name]
    settings = {"recipe": {**resumable.RECIPE, "tuner": tuner, "options": options}}
    at_step()
    assert main(resumable.commands(small_cell, tmp_path / "whole", **settings)["tune_prompt"]) == 0
    at_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    command = resumable.commands(small_cell, tmp_path / "out", save_every=3600, **settings)["tune_prompt"]
    assert main(command) == 1
    assert list(resumable.files(tmp_path / "out")) == ["store/prompt.safetensors"]
    at_step()
    assert main(command) == 0
    assert resumable.files(tmp_path / "out") == resumable.files(tmp_path / "whole")


def test_a_signal_during_the_last_step_stops_nothing(
    small_cell: Path, tmp_path: Path, at_step: Callable[..., list[float]]
) -> None:
    at_step(STEPS, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    assert main(resumable.commands(small_cell, tmp_path)["tune_prompt"]) == 0
    assert len(resumable.files(tmp_path)) == 3


def other_gold(small_cell: Path, folder: Path) -> Path:
    gold = tables.read(small_cell / "tuning.parquet", "gold")
    tables.write(folder / "gold.parquet", "gold", gold.assign(rationale=gold["rationale"] + " ."), {})
    return folder / "gold.parquet"


@pytest.mark.parametrize("changed", ["settings", "model", "data"])
def test_a_checkpoint_of_other_work_is_not_used(
    small_cell: Path, tmp_path: Path, at_step: Callable[..., list[float]], changed: str
) -> None:
    out = tmp_path / "out"
    at_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert main(resumable.commands(small_cell, out)["tune_prompt"]) == 1
    settings = {"recipe": {**resumable.RECIPE, "learning_rate": 0.01}} if changed == "settings" else {}
    command = resumable.commands(small_cell, out, **settings)["tune_prompt"]
    if changed == "data":
        command = [*command, f"--tuning={other_gold(small_cell, tmp_path)}"]
    if changed == "model":
        weights = small_cell / "model" / "model.safetensors"
        os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    losses = at_step()
    assert main(command) == 0
    assert len(losses) == STEPS

"""One writer: a claim is refused while its holder lives, and taken over when it is gone, however it went."""

from __future__ import annotations

import errno
import fcntl
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dpc.errors import DpcError
from dpc.pipeline.cluster import resume
from dpc.storage import claim
from dpc.storage.claim import Claim
from tests.support.paths import ROOT

HOLD = """
import sys, time
from pathlib import Path
from dpc.storage.claim import Claim
held = Claim(Path(sys.argv[1]), "x", colour="blue")
print("held", flush=True)
sys.stdin.read()
held.release()
"""


@contextmanager
def holder(file: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(file)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    file = tmp_path / "stage.claim"
    with holder(file) as first:
        assert claim.is_held(file)
        assert claim.read(file)["colour"] == "blue"
        with pytest.raises(DpcError, match=rf"the plan is being written by process {first.pid} on "):
            Claim(file, "the plan")
        assert claim.is_held(file)
        first.communicate("")
    assert not file.exists()


def test_a_killed_writers_claim_is_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "stage.claim"
    with holder(file) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert file.exists()
        assert not claim.is_held(file)
        mine = Claim(file, "the plan")
        assert claim.is_held(file)
        mine.release()
    assert not file.exists()


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    Claim(tmp_path / resume.RUN, "the folder", arguments=[], config={})
    assert resume.main([str(tmp_path)]) == 1
    *_, line = capsys.readouterr().err.splitlines()  # behind the warning of the claim itself
    assert re.match(rf"error: {tmp_path}/run.json: this file system has no locks, so nobody can say whether proc", line)
    assert line.endswith("run its command again, first with --unlock, then with --rerun-incomplete")


def test_a_claim_given_back_while_it_is_waited_for_is_not_held_twice(tmp_path: Path) -> None:
    """Many processes take and give back the same claim; a counter beside it shows that no two held it at once."""
    code = """
import sys, time
from pathlib import Path
from dpc.storage.claim import Claim
from dpc.errors import DpcError
file, counter = Path(sys.argv[1]), Path(sys.argv[2])
done = 0
while done < 40:
    try:
        held = Claim(file, "x")
    except DpcError:
        continue
    counter.write_text(str(int(counter.read_text()) + 1))
    done += 1
    held.release()
"""
    file, counter = tmp_path / "x.claim", tmp_path / "count"
    counter.write_text("0")
    command = [sys.executable, "-c", code, str(file), str(counter)]
    workers = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert counter.read_text() == "120"

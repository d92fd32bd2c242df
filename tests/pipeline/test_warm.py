"""The warm server: same streams, folder, status and results as a stage run by itself, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dpc.pipeline.cluster.warm import VARIABLE, load_early
from tests.support.paths import ROOT

EARLY = """
import subprocess, sys
from dpc.pipeline.cluster import warm

warm.load_early(1)
sys.exit(subprocess.run(["bash", "-c", sys.argv[1]]).returncode)
"""
BESIDE = {"server": ["-m", "dpc.pipeline.cluster.warm", "--", "bash", "-c"], "early": ["-c", EARLY]}
"""What runs a shell script with a server for all its stages, or with torch loaded early for the first one."""
both = pytest.mark.parametrize("kind", BESIDE)


def warm(script: str, folder: Path, kind: str = "server") -> subprocess.CompletedProcess[str]:
    """Run a shell script with torch being loaded beside it."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "PYTHON": sys.executable,
        "TMPDIR": str(folder),
    }
    command = [sys.executable, *BESIDE[kind], script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@both
def test_status_and_streams_come_back(kind: str, tmp_path: Path) -> None:
    script = "$PYTHON -m dpc run_studdy; echo status $?; $PYTHON -m dpc run_study --settings '{}'; echo status $?"
    done = warm(script, tmp_path, kind)
    assert done.returncode == 0
    assert done.stdout.split("\n")[:2] == ["status 2", "status 2"]
    assert "unknown stage 'run_studdy'; did you mean 'run_study'?" in done.stderr


def test_the_commands_own_status_is_returned(tmp_path: Path) -> None:
    assert warm("exit 7", tmp_path).returncode == 7


@both
def test_the_hub_is_offline_before_it_is_imported(kind: str, tmp_path: Path) -> None:
    told = "'torch' in sys.modules, sys.modules['huggingface_hub.constants'].HF_HUB_OFFLINE"
    other_stage(tmp_path, f"import sys\n\ndef main(argv):\n    print({told})\n    return 3\n")
    done = warm("$PYTHON -m dpc; echo $?", tmp_path, kind)
    assert done.stdout.split() == ["True", "True", "3"], done.stderr


def test_an_early_stage_has_the_threads_and_the_temporary_folder_it_would_have_had(tmp_path: Path) -> None:
    told = "torch.get_num_threads(), tempfile.gettempdir()"
    other_stage(tmp_path, f"import tempfile, torch\n\ndef main(argv):\n    print({told})\n    return 3\n")
    (tmp_path / "own").mkdir()
    done = warm(f"TMPDIR={tmp_path}/own $PYTHON -m dpc", tmp_path, "early")
    assert done.stdout.split() == ["1", f"{tmp_path}/own"], done.stderr


def test_stages_at_the_same_time_all_run(tmp_path: Path) -> None:
    call = "$PYTHON -m dpc run_studdy; echo status $?"
    done = warm(f"({call}) & ({call}) & wait", tmp_path, "early")
    assert done.stdout == "status 2\nstatus 2\n"
    assert done.stderr.count("did you mean 'run_study'?") == 2


@both
def test_a_caller_that_dies_while_it_asks_holds_nobody_up(kind: str, tmp_path: Path) -> None:
    ask = (
        "import os, socket; s = socket.socket(socket.AF_UNIX); "
        f"s.connect(os.environ['{VARIABLE}']); s.sendall(b'half a request')"
    )
    done = warm(f'$PYTHON -c "{ask}"; $PYTHON -m dpc run_studdy; echo status $?', tmp_path, kind)
    assert done.stdout == "status 2\n", done.stderr


@pytest.mark.parametrize("call", ["tempfile.mkdtemp", "subprocess.Popen"])
def test_what_keeps_torch_from_loading_early_stops_no_job(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no room")

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(call, refused)
    load_early(1)
    assert VARIABLE not in os.environ
    assert not list(tmp_path.iterdir())


def test_a_stage_runs_by_itself_where_loading_fails(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    done = warm("$PYTHON -m dpc run_studdy; echo status $?", tmp_path, "early")
    assert done.stdout == "status 2\n"
    assert not list(tmp_path.glob("dpc-warm-*"))


def test_an_early_stage_ends_with_a_command_that_is_killed(tmp_path: Path) -> None:
    warm(f"{waiting_stage(tmp_path)}; kill -9 $PPID", tmp_path, "early")
    time.sleep(3.5)
    assert not is_alive(int((tmp_path / "stage.pid").read_text()))
    assert not list(tmp_path.glob("dpc-warm-*"))


def test_a_stage_runs_by_itself_where_no_server_is(tmp_path: Path) -> None:
    done = warm(f"{VARIABLE}=gone $PYTHON -m dpc run_studdy; echo status $?", tmp_path)
    assert done.stdout == "status 2\n"
    assert "did you mean 'run_study'?" in done.stderr


@both
def test_a_stage_writes_in_the_callers_folder(kind: str, tmp_path: Path) -> None:
    settings = (
        '{"dataset": "d", "task": "arithmetic", "generate": 1, "template": "{question}", '
        '"splits": {"tuning": 4, "validation": 2, "calibration": 2, "act_select": 0, "act_confirm": 0, "test": 3}}'
    )
    gold = " ".join(
        f"gold/{split}.parquet"
        for split in ("tuning", "validation", "calibration", "act_select", "act_confirm", "test")
    )
    line = f"$PYTHON -m dpc load_problems --settings '{settings}' --train --test --questions q.parquet --gold {gold}"
    done = warm(f"{line} --log made.log; echo $?", tmp_path, kind)
    assert done.stdout.split()[0] == "0", done.stderr
    assert (tmp_path / "q.parquet").is_file()
    assert "again by hand" in (tmp_path / "made.log").read_text()


SLEEPS = """
import os, time
from dpc.storage.interrupt import interruptible

def main(argv):
    with interruptible() as asked:
        with open("stage.pid", "w") as file:
            file.write(str(os.getpid()))
        while not asked():
            time.sleep(0.05)
        time.sleep(1)
        print("saved at", asked())
    return 5
"""
"""A stage that works until it is asked to stop, and takes a second to save."""


def other_stage(folder: Path, code: str) -> None:
    """Put a copy of the project into a folder, where every stage is `code`."""
    shutil.copytree(ROOT / "dpc", folder / "dpc")
    (folder / "dpc/pipeline/cli.py").write_text(code)


def waiting_stage(folder: Path) -> str:
    """Return a shell line that calls a stage and goes on once it works."""
    other_stage(folder, SLEEPS)
    line = "$PYTHON -m dpc & caller=$!"
    return f"{line}; while [ ! -s stage.pid ]; do sleep 0.1; done; stage=$(cat stage.pid)"


def is_alive(process: int) -> bool:
    """Say whether a process still runs; one that nobody has asked for its status does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


ENDS = {
    "kill -9 $caller; sleep 3; ps -o stat= -p $stage | grep -q S || echo ended": "saved at SIGTERM\nended\n",
    "kill -USR1 $caller; wait $caller; echo status $?": "saved at SIGUSR1\nstatus 5\n",
    "kill -TERM $caller; wait $caller; echo status $?": "saved at SIGTERM\nstatus 5\n",
    "kill -9 $stage; wait $caller; echo status $?": "status 137\n",
    "true": "",
}
"""How a stage or its caller ends, and what is seen of it; the caller ignores SIGUSR1 itself, as in Snakemake's jobs."""


@pytest.mark.parametrize("end", ENDS)
@both
def test_a_stage_gets_its_callers_signals_and_outlives_neither_it_nor_the_command(
    kind: str, end: str, tmp_path: Path
) -> None:
    line = waiting_stage(tmp_path)
    done = warm(f"trap '' USR1; {line}; {end}; echo over", tmp_path, kind)
    assert done.stdout.startswith(f"{ENDS[end]}over\n")
    time.sleep(0.5)
    assert not is_alive(int((tmp_path / "stage.pid").read_text()))
    assert not list(tmp_path.glob("dpc-warm-*"))


def test_an_early_process_that_nobody_calls_ends_with_the_command(tmp_path: Path) -> None:
    done = warm("sleep 1; pgrep -P $PPID -f 'dpc.pipeline.cluster.warm --once' > early.pid", tmp_path, "early")
    assert done.returncode == 0
    time.sleep(0.5)
    assert not Path("/proc", (tmp_path / "early.pid").read_text().split()[0]).exists()
    assert not list(tmp_path.glob("dpc-warm-*"))


def test_no_early_process_where_a_sockets_path_would_be_too_long(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    done = warm(f"echo ${VARIABLE}-; $PYTHON -m dpc run_studdy; echo status $?", folder, "early")
    assert done.stdout == "-\nstatus 2\n"
    assert not list(folder.iterdir())

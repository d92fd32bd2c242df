"""`python -m dpc STAGE`: what a user meets who pastes a line from a log, or types one."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dpc.config.told import STAGES
from dpc.pipeline.cli import main
from dpc.pipeline.stages import load_problems
from tests.support.paths import ROOT

ACT = {"act_select": 2, "act_confirm": 2}
SIZES = {"tuning": 3, "validation": 2, "calibration": 2, **ACT, "test": 4, "on_overlap": "error"}
SETTINGS = {"dataset": "d", "task": "arithmetic", "generate": 1, "splits": SIZES, "template": "Q : {question} A :"}
SPLITS = ("tuning", "validation", "calibration", "act_select", "act_confirm", "test")


def problems(folder: Path, **changed: object) -> list[str]:
    """Return the arguments of a small `load_problems` stage that writes into `folder`."""
    gold = [str(folder / "gold" / f"{name}.parquet") for name in SPLITS]
    given = ["load_problems", "--settings", json.dumps({**SETTINGS, **changed}), "--train", "--test"]
    return [*given, "--questions", str(folder / "q.parquet"), "--gold", *gold, "--log", str(folder / "log.txt")]


def python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dpc", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def test_without_a_stage_it_says_which_there_are() -> None:
    done = python()
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == f"usage: python -m dpc answer or show ..., or STAGE --settings JSON ...; stages: {', '.join(STAGES)}\n"
    )


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that `main` refuses `arguments` with, before any work."""
    try:
        status = main(arguments)
    except SystemExit as stopped:
        status = stopped.code  # type: ignore[assignment]
    said = capsys.readouterr()
    assert (status, said.out) == (2, "")
    assert said.err.count("\n") == 1
    return said.err.rstrip("\n")


FILES = ["--train", "--test", "--questions", "q", "--gold", "g"]
HELP = "; see python -m dpc load_problems --help"


def settings_line(settings: str, capsys: pytest.CaptureFixture[str]) -> str:
    line = complaint(["load_problems", "--settings", settings, *FILES], capsys)
    return line.removeprefix("error: argument --settings: ").removesuffix(HELP)


def test_an_unknown_stage_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(["regenrate"], capsys) == "error: unknown stage 'regenrate'; did you mean 'regenerate'?"


def test_settings_that_are_not_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert settings_line('{"dataset": ', capsys).startswith("not JSON: EOF while parsing")


def test_settings_with_an_unknown_key(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = json.dumps({**SETTINGS, "splits": {**SIZES, "tets": 4}})
    assert settings_line(wrong, capsys) == "unknown key `splits.tets`; did you mean 'test'?"


def test_settings_of_the_wrong_type(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = json.dumps({**SETTINGS, "generate": "one"})
    assert settings_line(wrong, capsys) == "`generate` is 'one': expected a whole number"


def test_settings_without_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    short = json.dumps({key: value for key, value in SETTINGS.items() if key != "template"})
    assert settings_line(short, capsys) == "`template` is missing: add it"


def test_an_unknown_flag(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = complaint([*problems(tmp_path), "--colour", "red"], capsys)
    assert line == f"error: unrecognized arguments: --colour red{HELP}"
    assert list(tmp_path.iterdir()) == []


def test_a_shortened_flag_is_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(["load_problems", "--sett", "{}", *FILES], capsys)
    assert line == f"error: the following arguments are required: --settings{HELP}"


def test_a_missing_flag(capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(["load_problems", "--settings", json.dumps(SETTINGS), *FILES[:-2]], capsys)
    assert line == f"error: the following arguments are required: --gold{HELP}"


STAMP = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "


def log_of(folder: Path) -> list[str]:
    """Return the lines of a log, each without its time."""
    lines = (folder / "log.txt").read_text().splitlines()
    assert all(re.match(STAMP, line) for line in lines)
    return [re.sub(STAMP, "", line) for line in lines]


def test_a_log_tells_where_with_what_and_at_what_cost(tmp_path: Path) -> None:
    arguments = problems(tmp_path)
    done = python(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = log_of(tmp_path)
    assert re.fullmatch(r"INFO stage load_problems, host \S+, slurm job \S+, device cpu", lines[0])
    assert json.loads(lines[1].removeprefix("INFO settings ")) == SETTINGS
    assert lines[2].startswith("INFO again by hand: python -m dpc load_problems --settings '{")
    assert re.fullmatch(r"INFO load_problems: peak memory \d+\.\d\d GiB, \d+\.\d s", lines[-1])


def test_the_line_in_the_log_runs_the_stage_again(tmp_path: Path) -> None:
    """From a folder with a space in its name, and with quotes in the settings."""
    folder = tmp_path / "a folder"
    assert main(problems(folder, template='It\'s Q : {question} "A" :')) == 0
    made = {file: file.read_bytes() for file in folder.rglob("*.parquet")}
    assert len(made) == 7
    line = next(line for line in log_of(folder) if "again by hand: " in line).split("again by hand: ")[1]
    for file in made:
        file.unlink()
    bin_first = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": bin_first, "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, check=True, timeout=60)
    assert set(folder.rglob("*.parquet")) == set(made)


def test_a_failure_is_one_line_on_the_screen_and_in_the_log(tmp_path: Path) -> None:
    arguments = problems(tmp_path, task="gsm8k", generate=None)
    arguments.insert(arguments.index("--test") + 1, str(tmp_path / "none.jsonl"))
    done = python(*arguments)
    expected = f"error: {tmp_path}/none.jsonl: no such file; expected rows as .jsonl or .parquet: correct the path"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr
    lines = log_of(tmp_path)
    assert [line.startswith(f"ERROR {expected}") for line in lines].count(True) == 1
    assert [" ".join(line.split()[:2]) for line in lines] == [
        "INFO stage", "INFO settings", "INFO again", "ERROR error:", "INFO load_problems:",
    ]  # fmt: skip
    assert [file.name for file in tmp_path.rglob("*") if file.suffix != ".jsonl"] == ["log.txt"]  # its attempts count


def test_an_unforeseen_fault_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dpc.pipeline.stages import load_problems as stage

    monkeypatch.setattr(stage, "_question_rows", lambda *given: 1 / 0)
    assert main(problems(tmp_path)) == 1
    for text in (capsys.readouterr().err, (tmp_path / "log.txt").read_text()):
        assert "error: load_problems stopped by an unexpected fault; please report it with this log" in text
        assert "ZeroDivisionError" in text
    assert "peak memory" in (tmp_path / "log.txt").read_text().splitlines()[-1]


def test_ctrl_c_ends_a_stage_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @functools.wraps(load_problems.run)  # the parser reads its arguments
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dpc.pipeline.stages.load_problems.run", interrupted)
    assert main(problems(tmp_path)) == 130
    log = (tmp_path / "log.txt").read_text()
    assert "stopped by a person" in log
    assert "Traceback" not in log + capsys.readouterr().err
    assert not (tmp_path / "log.claim").exists()

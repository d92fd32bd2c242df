"""Stores: a stage that was cut off goes on with the same batches, and uses nothing that does not belong to it."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from dpc.config.execution import Execution
from dpc.config.stages import VERSIONS
from dpc.errors import DpcError
from dpc.lm import decoding
from dpc.pipeline.cli import main
from dpc.pipeline.progress import Progress
from dpc.storage import files, tables
from dpc.storage.interrupt import SIGNALS, interruptible, stopped
from dpc.storage.store import BEGUN, Store
from tests.support import resumable
from tests.support.workflow import Workflow

STORED = (
    "unprompted", "generate_base", "select_act_heads", "extract_saliency", "extract_corrupted", "extract_variants",
    "intervene", "regenerate",
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("still_clocks")


class Cut(BaseException):
    """Ends a stage as abruptly as an exception can."""


@pytest.fixture
def at_batch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Return a function that has `act` done at batch `number` (from 1) and lists the sizes of batches made.

    Each batch is full from the start: no question waits for a place in one.
    """
    monkeypatch.setattr(decoding, "TURNS", 1)
    add = Progress.add

    def arrange(number: int = 0, act: Callable[[], None] = lambda: None) -> list[int]:
        sizes: list[int] = []

        def counted(self: Progress, count: int, **figures: float) -> None:
            sizes.append(count)
            if len(sizes) == number:
                act()
            add(self, count, **figures)

        monkeypatch.setattr(Progress, "add", counted)
        return sizes

    return arrange


def cut() -> None:
    raise Cut


def parts(out: Path) -> list[Path]:
    return sorted(out.glob("store/*/*.parquet"))


@pytest.mark.parametrize("stage", STORED)
def test_a_stage_that_was_cut_off_goes_on_to_the_same_bytes(
    stage: str, small_cell: Path, tmp_path: Path, at_batch: Callable[..., list[int]]
) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    all_batches = at_batch()
    assert main(resumable.commands(small_cell, whole)[stage]) == 0
    command = resumable.commands(small_cell, again)[stage]
    at_batch(4, cut)
    with pytest.raises(Cut):
        main(command)
    assert len(parts(again)) == 3
    left = at_batch()
    assert main(command) == 0
    assert left == all_batches[3:]
    assert resumable.outputs(again) == resumable.outputs(whole)
    assert len(resumable.outputs(again)) == 1 + (stage == "select_act_heads")
    assert len(parts(again)) == (stage == "regenerate")


@pytest.mark.parametrize("stage", STORED)
def test_only_a_bad_part_is_made_again(
    stage: str, small_cell: Path, tmp_path: Path, at_batch: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also out of the middle: batches, their composition and their numbers stay what they were."""
    whole, again = tmp_path / "whole", tmp_path / "again"
    at_batch()
    assert main(resumable.commands(small_cell, whole)[stage]) == 0
    command = resumable.commands(small_cell, again)[stage]
    at_batch(5, cut)
    with pytest.raises(Cut):
        main(command)
    bad = parts(again)[1]
    bad.write_bytes(bad.read_bytes()[:-40])
    left = at_batch()
    capsys.readouterr()
    assert main(command) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "WARNING rows" in line]
    assert len(warned) == 1
    assert re.search(r"rows of a store are generated again: .*parquet: not a whole Parquet file", warned[0])
    assert left[:2] == [resumable.BATCH, resumable.BATCH]
    assert resumable.outputs(again) == resumable.outputs(whole)


def test_new_plans_make_only_their_new_edits(
    small_cell: Path, tmp_path: Path, at_batch: Callable[..., list[int]]
) -> None:
    """Nine edits were there before; 33 are wanted, the nine among them, and cut off; then the nine again."""
    command = resumable.commands(small_cell, tmp_path)["regenerate"]
    earlier = at_batch()
    assert main(resumable.earlier_plans(command)) == 0
    assert sum(earlier) == 9
    first = resumable.outputs(tmp_path)
    before = at_batch(3, cut)
    with pytest.raises(Cut):
        main(command)
    after = at_batch()
    assert main(command) == 0
    sizes = [*earlier, *before[:2], *after]
    assert sum(sizes) == 33
    assert max(sizes) == resumable.BATCH
    rows = tables.read(tmp_path / "edits.parquet", "regenerations")
    assert len(rows) == len(rows.drop_duplicates(["problem_id", "edit_id"])) == 33
    assert sorted(rows["batch"].unique()) == list(range(len(sizes)))
    nothing = at_batch()
    assert main(resumable.earlier_plans(command)) == 0
    assert nothing == []
    assert resumable.outputs(tmp_path) == first
    assert len(parts(tmp_path)) == 1


@pytest.mark.parametrize("change", ["settings", "prompt", "questions", "model", "version"])
def test_a_store_of_another_context_is_replaced(
    change: str, small_cell: Path, tmp_path: Path, at_batch: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = resumable.commands(small_cell, tmp_path)["generate_base"]
    at_batch(4, cut)
    with pytest.raises(Cut):
        main(command)
    assert len(parts(tmp_path)) == 3
    if change == "settings":
        command = resumable.commands(small_cell, tmp_path, max_new_tokens=5)["generate_base"]
    elif change == "version":
        monkeypatch.setitem(VERSIONS, "generate_base", 99)
    else:
        command = [changed(change, small_cell, tmp_path, part) for part in command]
    sizes = at_batch()
    assert main(command) == 0
    assert sum(sizes) == resumable.QUESTIONS
    assert parts(tmp_path) == []


def changed(what: str, small_cell: Path, folder: Path, part: str) -> str:
    """Return a part of a command line, with another model, prompt or set of questions where it names one."""
    if what == "model" and part.startswith("--model="):
        (folder / "model").mkdir()
        for file in (small_cell / "model").iterdir():
            (folder / "model" / file.name).write_bytes(file.read_bytes())
        return f"--model={folder}/model"
    if what == "prompt" and part.startswith("--prompt="):
        data = bytearray((small_cell / "prompt.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "other.safetensors").write_bytes(data)
        return f"--prompt={folder}/other.safetensors"
    if what == "questions" and part.startswith("--questions="):
        asked = tables.read(small_cell / "questions.parquet", "questions")
        tables.write(folder / "q.parquet", "questions", asked.assign(prompt_text=asked["prompt_text"] + " :"), {})
        return f"--questions={folder}/q.parquet"
    return part


def test_every_job_has_a_store_of_its_own_that_snakemake_never_deletes(tmp_path: Path) -> None:
    sharded = {"study": {"results": "results"}, "shards": {"generate": 2, "saliency": 2}}
    done = Workflow(tmp_path, sharded).snakemake("--dry-run", "--printshellcmds", "regenerations")
    printed = done.stdout + done.stderr
    stores = re.findall(r"--store (\S+)", printed)
    rules = ("generate_base", "select_act_heads", "extract_saliency", "regenerate")
    assert len(set(stores)) == len(stores) == sum(len(re.findall(rf"-m dpc {rule} ", printed)) for rule in rules)
    outputs = [
        file.strip(",") for line in re.findall(r"^    output: (.*)$", printed, re.MULTILINE) for file in line.split()
    ]
    for folder in map(Path, stores):
        assert folder.parent.name == "store"
        assert not any(
            folder == Path(file) or folder in Path(file).parents or Path(file) in folder.parents for file in outputs
        )


# saving


def store(folder: Path, save_every: float = 0, context: str = "c") -> Store:
    execution = Execution(device="cpu", save_every_seconds=save_every)
    return Store(folder, "generations", context, execution)


@pytest.mark.parametrize(("every", "sizes"), [(0.0, [5] * 20), (3600.0, [100])])
def test_saving_costs_what_is_new(every: float, sizes: list[int], tmp_path: Path) -> None:
    keys = [f"q{i:03d}" for i in range(100)]
    kept = store(tmp_path, every)
    batches = [resumable.rows_of(*keys[i : i + 5]) for i in range(0, 100, 5)]
    rows, device = kept.complete(resumable.rows_of(*keys), lambda left: iter(batches))
    assert [len(tables.read(part, "generations")) for part in sorted(tmp_path.iterdir())] == sizes
    assert (list(rows["problem_id"]), device) == (keys, "cpu")
    assert list(rows["batch"]) == [i // 5 for i in range(100)]


def test_an_error_loses_no_finished_batch(tmp_path: Path) -> None:
    def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        yield left.iloc[:2]
        raise DpcError("a single question does not fit")

    with pytest.raises(DpcError, match="a single question"):
        store(tmp_path, 3600).complete(resumable.rows_of("a", "b", "c"), make)
    rows, _ = store(tmp_path).complete(resumable.rows_of("a", "b", "c"), lambda left: iter([left]))
    assert list(rows["batch"]) == [0, 0, 1]


def test_a_part_that_goes_bad_leaves_no_gap_in_the_output(tmp_path: Path) -> None:
    def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        yield left.iloc[:1]
        next(tmp_path.iterdir()).write_bytes(b"PAR1")
        yield left.iloc[1:]

    with pytest.raises(DpcError, match="1 questions were saved and cannot be read; run the same command again"):
        store(tmp_path).complete(resumable.rows_of("a", "b"), make)
    assert len(store(tmp_path).complete(resumable.rows_of("a", "b"), lambda left: iter([left]))[0]) == 2


def test_rows_that_two_processes_made_count_once(tmp_path: Path) -> None:
    for _ in range(2):
        twin = store(tmp_path)
        twin._add(resumable.rows_of("a", "b"), 0)
    kept = store(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    rows, _ = kept.complete(resumable.rows_of("a", "b", "c"), lambda left: iter([left]))
    assert list(rows["problem_id"]) == ["a", "b", "c"]
    kept.merge()
    (merged,) = tmp_path.iterdir()
    assert len(tables.read(merged, "generations")) == 3
    kept.remove()
    assert not tmp_path.exists()


def test_a_row_keeps_the_device_it_was_made_on(tmp_path: Path) -> None:
    store(tmp_path).complete(resumable.rows_of("a"), lambda left: iter([left]))
    other = Store(tmp_path, "generations", "c", Execution(device="cuda"))
    assert other.complete(resumable.rows_of("a"), lambda left: iter([]))[1] == "cpu"
    other.complete(resumable.rows_of("a", "b"), lambda left: iter([left]))
    other.merge()
    assert other.complete(resumable.rows_of("a", "b"), lambda left: iter([]))[1] == "cpu, cuda"


def test_a_row_keeps_the_engine_that_made_it(tmp_path: Path) -> None:
    first, device = resumable.rows_of("a").assign(batch=0), {"context": "c", "devices": ["cpu"]}
    tables.write(tmp_path / "0.parquet", "generations", first, device)  # by a release that knew one engine
    store(tmp_path).complete(resumable.rows_of("a"), lambda left: iter([]))
    assert store(tmp_path).engines == "torch"
    other = Store(tmp_path, "generations", "c", Execution(device="cpu"), "vllm")
    other.complete(resumable.rows_of("a", "b"), lambda left: iter([left]))
    assert other.engines == "torch, vllm"
    other.merge()
    assert store(tmp_path).engines == "torch, vllm"


@pytest.mark.parametrize("stage", ["unprompted", "regenerate"])
def test_a_table_names_the_engine_of_its_rows_and_not_the_present_one(
    stage: str, small_cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of an earlier run lie in the store, and nothing is left to do."""
    monkeypatch.setattr(Store, "remove", lambda self: None)
    command = resumable.commands(small_cell, tmp_path)[stage]
    assert main(command) == 0
    engine = '"engine": "vllm", "vllm_python": "/opt/vllm/bin/python", "device"'
    assert main([word.replace('"device"', engine) for word in command]) == 0
    (out,) = tmp_path.glob("*.parquet")
    assert tables.provenance(out)["engine"] == "torch"


def test_what_was_said_and_cut_short_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = store(tmp_path)
    kept.keep_begun({("a", "base"): [3]})
    whole = (tmp_path / BEGUN).read_bytes()
    for content in (b"", whole[:-4], b"\0" * len(whole)):
        (tmp_path / BEGUN).write_bytes(content)
        assert kept.begun() == {}
        assert "its batch is begun anew" in caplog.text
        caplog.clear()


# signals


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_and_stops_after_the_batch(
    number: signal.Signals,
    small_cell: Path,
    tmp_path: Path,
    at_batch: Callable[..., list[int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    command = resumable.commands(small_cell, tmp_path, save_every=3600)["unprompted"]
    at_batch(3, lambda: os.kill(os.getpid(), number))
    assert main(command) == 1
    cause = {"SIGUSR1": "SIGUSR1 before the time limit"}.get(number.name, number.name)
    line = f"error: stopped by {cause}: 12 of 22 questions kept; run the same command again to go on"
    assert capsys.readouterr().err.splitlines()[-1].endswith(line)
    assert not (tmp_path / "unprompted.parquet").exists()
    assert [signal.getsignal(each) for each in SIGNALS] == before
    left = at_batch()
    assert main(command) == 0
    assert left == [4, 4, 2]


def test_a_signal_at_the_last_batch_stops_nothing(tmp_path: Path) -> None:
    def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        os.kill(os.getpid(), signal.SIGTERM)
        yield left

    assert len(store(tmp_path).complete(resumable.rows_of("a", "b"), make)[0]) == 2


def test_the_first_signal_is_named() -> None:
    with interruptible() as asked_to_stop:
        assert asked_to_stop() == ""
        for number in reversed(SIGNALS):
            os.kill(os.getpid(), number)
        assert asked_to_stop() == "SIGTERM"
    assert "stopped by SIGTERM: 3 of 8 steps kept" in str(stopped("SIGTERM", 3, 8, "steps"))


# what a killed writer leaves


def temporary(folder: Path, name: str, writer: str) -> Path:
    file = folder / f".{name}.abcd1234.{writer}"
    file.write_text("half")
    return file


def test_leftovers_of_dead_writers_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    here = platform.node()
    dead = temporary(tmp_path, "out", f"{gone.pid}@{here}")
    earlier = temporary(tmp_path, "out", f"{os.getpid()}@{here}")
    old = temporary(tmp_path, "out", "7@elsewhere")
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    others = [temporary(tmp_path, "out", f"1@{here}"), temporary(tmp_path, "out", "7@elsewhere.too")]
    others += [temporary(tmp_path, "other", f"{gone.pid}@{here}"), tmp_path / ".hidden"]
    others[-1].touch()
    with files.atomic(tmp_path / "out") as now:
        now.write_text("whole")
    assert not any(file.exists() for file in (dead, earlier, old))
    assert all(file.exists() for file in others)
    store(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*others[:2], others[-1], tmp_path / "out"])

"""What a person gets wrong who runs the workflow on files of their own: each is one line, with file and place."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpc.config.settings import load_config
from dpc.config.yaml_files import set_at
from dpc.errors import DpcError
from dpc.pipeline import check, check_models, command_line
from dpc.pipeline.cluster import resume
from dpc.storage.claim import Claim
from tests.support import config_tree as tree
from tests.support import model_folders
from tests.support.workflow import SMALLEST, Workflow, overlay

MINE = """\
study:
  name: mine
  results: results/mine
  models: [mymodel]
  datasets: [myquestions]
  recipes: [brought]
  prompt_seeds: [0]
  plans: [no_prompt, prompt_tuning, dpc]
  oracles: []
models:
  mymodel:
    path: model
    dtype: float32
datasets:
  myquestions:
    task: gsm8k
    files: {train: train.jsonl, test: test.jsonl}
    columns: {question: prompt, answer: solution}
    template: "Question: {question} Answer: "
    stop: ["Question:"]
    max_new_tokens: 24
    splits: {tuning: 3, validation: 1, calibration: 1, act_select: 0, act_confirm: 0}
recipes:
  brought:
    adapter: adapter
    vectors: 4
    layout: prompt_first
execution:
  device: cpu
"""
ROW = {"prompt": "Tom has 3 shells.", "solution": "3 = 3\n#### 3"}
SUCH = r'; such a row: \{"prompt": "Ann has .*", "solution": "She has .*"\}'


def mine(folder: Path, text: str = MINE, last: str | bytes | None = None) -> None:
    """Write a model, an adapter, rows and settings that work; `last` is put behind the test rows."""
    model_folders.write(folder / "model")
    model_folders.write_adapter(folder / "adapter")
    for pool, count in (("train", 6), ("test", 4)):
        lines = [json.dumps({**ROW, "prompt": f"{pool} {number}: {ROW['prompt']}"}) for number in range(count)]
        (folder / f"{pool}.jsonl").write_text("\n".join(lines))
    if last is not None:
        with (folder / "test.jsonl").open("ab") as file:
            file.write(b"\n" + (last if isinstance(last, bytes) else last.encode("utf-8")))
    (folder / "mine.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))


def said(words: list[str]) -> str | None:
    """Return the line of a refusal, as command line, Snakefile and check give it in turn; None: it works."""
    files = [Path(word) for word in words if word.endswith(".yaml")]
    try:
        command_line.check(words)
    except DpcError as error:
        return str(error)
    try:
        raw = tree.config()
        for file in files:
            raw = overlay(raw, yaml.safe_load(file.read_text()))
        config = load_config(raw)
        check_models.check_adapters(config)
        check.check(config, set())
    except DpcError as error:
        return f"{error}{set_at(str(error), files)}"
    return None


FILE = ["--configfile", "mine.yaml"]
YAML: dict[str, tuple[str, str, str]] = {
    "no colon": ("name: mine", "name mine", r"mine\.yaml:3:10: not YAML \(.*mapping values are not allowed"),
    "no space behind a colon": ("  name: mine", "  name:mine", r"mine\.yaml:3:10: not YAML \(.*\); indent keys of one"),
    "two colons": ("name: mine", "name: mine: two", r"mine\.yaml:2:13: not YAML \(mapping values are not allowed"),
    "a key too deep": ("  models: [mymodel]", "   models: [mymodel]", r"mine\.yaml:4:10: not YAML \(.*not allowed"),
    "a key too shallow": ("  models: [mymodel]", " models: [mymodel]", r"mine\.yaml:4:2: not YAML \(while parsing a"),
    "a tab": ("  models: [my", "\tmodels: [my", r"mine\.yaml:4:1: found a tab in front of a key; write spaces"),
    "a tab behind spaces": ("  models: [my", "  \tmodels: [my", r"mine\.yaml:4:3: found a tab in front of a key"),
    "an open bracket": ("[mymodel]", "[mymodel", r"mine\.yaml:4:11: not YAML \(.*\); close the quote or bracket"),
    "an open brace": ("{train: train.jsonl,", "{train: train.jsonl;", r"mine\.yaml:17:\d+: not YAML \(.*close the quo"),
    "an open quote": ('Answer: "', "Answer: ", r"mine\.yaml:\d+:\d+: not YAML \(.*"),
    "no space behind a colon in braces": (
        "{train: train.jsonl",
        "{train:train.jsonl",
        r"config: `datasets\.myquestions\.files` is .*|config: unknown key `datasets\.myquestions\.files\.train:train",
    ),
    "no space behind a group's last colon": (
        "dtype: float32",
        "dtype:float32",
        r"mine\.yaml:13:5: not YAML \(while scanning a simple key, .*\); write one `key: value` a line with a space",
    ),
    "an @": ("name: mine", "name: @mine", r"mine\.yaml:2:9: not YAML \(.*\); put text that begins with a sign"),
    "a *": ("name: mine", "name: *mine", r"mine\.yaml:2:9: not YAML \(found undefined alias.*\); put text that"),
    "a %": ("name: mine", "name: %mine", r"mine\.yaml:2:9: not YAML \(.*\); put text that begins with a sign"),
    "a key twice": (
        "  recipes: [br",
        "  models: [x]\n  recipes: [br",
        r"mine\.yaml:6:3: key `study\.models` stands twic",
    ),
    "a group twice": (
        "execution:",
        "models: {}\nexecution:",
        r"mine\.yaml:28:1: key `models` stands twice, first on li",
    ),
    "a key twice in braces": (
        "{tuning: 3,",
        "{tuning: 3, tuning: 4,",
        r"mine\.yaml:22:25: key `datasets\.myquestions\.spl",
    ),
    "a list": (MINE, "- study\n", r"mine\.yaml:1:1: found a list; expected a map of keys, as in workflow/own\.yaml"),
    "nothing": (MINE, "# to do\n", r"mine\.yaml:1:1: found nothing; expected a map of keys"),
    "a text": (MINE, "study", r"mine\.yaml:1:1: found a text; expected a map of keys"),
    "Latin-1": (
        "name: mine",
        "name: caf\udce9",
        r"mine\.yaml:2: found bytes that are no UTF-8 text; save the file as U",
    ),
    "a zero byte": ("name: mine", "name: m\x00", r"mine\.yaml: not YAML \(.*\); write the character itself"),
}
SETTINGS: dict[str, tuple[str, str, str]] = {
    "a misspelt key": (
        "results:",
        "result:",
        r"config: unknown key `study\.result`; did you mean 'results'\? \(mine\.yaml:3\)",
    ),
    "a misspelt group": ("execution:", "excution:", r"config: unknown key `excution`; .* \(mine\.yaml:28\)"),
    "a wrong type": (
        "vectors: 4",
        "vectors: four",
        r"config: `recipes\.brought\.vectors` is 'four': .* \(mine\.yaml:26\)",
    ),
    "no list": ("prompt_seeds: [0]", "prompt_seeds: 0", r"config: `study\.prompt_seeds` is 0: .* \(mine\.yaml:7\)"),
    "another model": ("models: [mymodel]", "models: [my]", r"config: study\.models names 'my', .* \(mine\.yaml:4\)"),
    "another recipe": ("[brought]", "[broght]", r"config: study\.recipes names 'broght', .*\(mine\.yaml:6\)"),
    "another dataset": (
        "[myquestions]",
        "[myquestion]",
        r"config: study\.datasets names 'myquestion', .* \(mine\.yaml:5\)",
    ),
    "a seed twice": ("[0]", "[0, 0]", r"config: `study\.prompt_seeds` is \[0, 0\]: 0 appears more .* \(mine\.yaml:7\)"),
    "a list for a group": (
        "models:\n  mymodel:",
        "models:\n  - mymodel:",
        r"config: `models` is \[.*: expected a map of keys \(mine\.yaml:10\)",
    ),
    "another plan": ("dpc]", "dcp]", r"config: `study\.plans\[2\]` is 'dcp': .* \(mine\.yaml:8\)"),
    "gpu": ("device: cpu", "device: gpu", r"config: `execution\.device` is 'gpu': .*'cuda'.* \(mine\.yaml:29\)"),
    "no template": (
        "{question} Answer",
        "Answer",
        r"config: datasets\.myquestions: `template` must contain .* \(mine\.yam",
    ),
    "a column of no task": (
        "{question: prompt",
        "{query: prompt",
        r"config: datasets\.myquestions: `columns` names 'query'",
    ),
    "one column for two": (
        "answer: solution}",
        "answer: prompt}",
        r"config: .*`columns` gives 'prompt' for two fields",
    ),
    "an adapter without its layout": (
        "    layout: prompt_first\n",
        "",
        r"config: recipes\.brought: `adapter` needs `layout`",
    ),
    "more vectors than it has": (
        "vectors: 4",
        "vectors: 20",
        r"recipes\.brought\.vectors is 20, .*write 4 \(mine\.yaml:26\)",
    ),
    "a wrong word in braces": (
        "adapter: adapter",
        "adapter: adapter{sed}",
        r"config: recipes\.brought: `adapter` has \{sed\}; known are .* \(mine\.yaml:24\)",
    ),
    "no such adapter": (
        "adapter: adapter",
        "adapter: adaptor",
        r"recipes\.brought\.adapter: .*found no .* \(mine\.yaml:25\)",
    ),
    "one adapter for three seeds": (
        "[0]",
        "[0, 1, 2]",
        r"config: recipes\.brought\.adapter is .*, or one seed \(mine\.yaml:25",
    ),
    "too few rows": (
        "calibration: 1,",
        "calibration: 9,",
        r"dataset myquestions: found 6 training questions; .*lower .*\(mine\.ya",
    ),
    "an answer too long": (
        "tokens: 24",
        "tokens: 9000",
        r"models\.mymodel: found a context of .*max_new_tokens \(mine\.yaml:",
    ),
    "layers that are not there": (
        "execution:",
        "act: {layers: [0, 90]}\nexecution:",
        r"act\.layers, model mymodel: .* \(mine\.yaml:28",
    ),
}
ROWS: dict[str, tuple[str | bytes, str]] = {
    "a line that is no JSON": ("{prompt: x}", rf"test\.jsonl:5: not JSON \(.*{SUCH}"),
    "a row cut short": ('{"prompt": "a", ', rf"test\.jsonl:5: not JSON \(Expecting .* at character 16\); .*line{SUCH}"),
    "a value over many lines": (
        '[\n{"prompt": "a"}\n]',
        rf"test\.jsonl:5: not JSON \(.*\); .*: this file has one value over many lines; write each question .*{SUCH}",
    ),
    "null for an answer": ('{"prompt": "a", "solution": null}', rf"test\.jsonl:5: field 'solution' is null; .*{SUCH}"),
    "a list for an answer": ('{"prompt": "a", "solution": [7]}', rf"test\.jsonl:5: field 'solution' is a list.*{SUCH}"),
    "a row of a CSV": ("x,y", rf"test\.jsonl:5: not JSON \(.*{SUCH}"),
    "a list": ("[1]", rf"test\.jsonl:5: found a JSON list; .*{SUCH}"),
    "a field twice": ('{"prompt": "a", "prompt": "b"}', rf"test\.jsonl:5: not JSON \(key 'prompt' twice\).*{SUCH}"),
    "the task's own name": (
        '{"question": "a", "solution": "#### 1"}',
        rf"test\.jsonl:5: no field 'prompt', which `col.*{SUCH}",
    ),
    "no answer": (
        '{"prompt": "a"}',
        rf"test\.jsonl:5: no field 'solution', which `columns` names for 'answer'.*{SUCH}",
    ),
    "an empty question": ('{"prompt": " ", "solution": "1"}', rf"test\.jsonl:5: field 'prompt' is empty; .*{SUCH}"),
    "an answer in words": (
        '{"prompt": "a", "solution": "seven"}',
        rf"test\.jsonl:5: field 'solution' ends in 'seven'.*{SUCH}",
    ),
    "two answers": (
        '{"prompt": "a", "solution": "#### 1\\n#### 2"}',
        rf"test\.jsonl:5: gold answer '2' is not read .*{SUCH}",
    ),
    "an answer and a unit": (
        '{"prompt": "a", "solution": "#### 7 pens"}',
        rf"test\.jsonl:5: field 'solution' has '7 pens'.*{SUCH}",
    ),
    "chat messages": (
        '{"prompt": [{"role": "user"}], "solution": "1"}',
        rf"test\.jsonl:5: field 'prompt' is a list of chat .*{SUCH}",
    ),
    "Latin-1": (b'{"prompt": "caf\xe9", "solution": "1"}', rf"test\.jsonl:5: cannot be read as UTF-8 text .*{SUCH}"),
    "one backslash": (
        '{"prompt": "\\frac12", "solution": "1"}',
        rf"test\.jsonl:5: field 'prompt' is text with .*write two.*{SUCH}",
    ),
}
ORDERS: dict[str, tuple[list[str], str]] = {
    "a target behind its file": (
        [*FILE, "check"],
        r"--configfile takes every word .*: snakemake check --configfile mine\.yaml$",
    ),
    "a misspelt target behind it": (
        [*FILE, "estimat"],
        r"--configfile takes every .*: snakemake estimate --configfile mine\.yaml$",
    ),
    "and options": ([*FILE, "check", "--cores", "2"], r".*: snakemake check --configfile mine\.yaml --cores 2$"),
    "no such file": (
        ["--configfile", "mien.yaml"],
        r"mien\.yaml: found no such settings file; .*: did you mean mine\.yaml\?$",
    ),
    "a folder": (
        ["--configfile", "model"],
        r"model: cannot be read \(Is a directory\); write the path of a settings file$",
    ),
    "the results for a file": (
        [*FILE, "results/mine"],
        r"results/mine: found no such settings file; write the path of one, or a",
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dpc.storage.hub.PATIENCE_SECONDS", 0.1)
    return tmp_path


def faults(line: str | None, expected: str) -> list[str]:
    """Return what is wrong with what was said: it has to be one line that begins as `expected`."""
    if line is None:
        return ["nothing was said"]
    wrong = {"another message": not re.match(expected, line), "more than a line": not line.isprintable()}
    wrong["a traceback"] = "Traceback" in line
    return [f"{name}: {line}" for name, is_so in wrong.items() if is_so]


def test_what_is_right_works(here: Path) -> None:
    mine(here)
    assert said(FILE) is None


@pytest.mark.parametrize("slip", [*YAML, *SETTINGS])
def test_a_slip_in_the_settings_is_one_line_with_file_and_place(slip: str, here: Path) -> None:
    old, new, expected = (YAML | SETTINGS)[slip]
    assert old in MINE
    mine(here, MINE.replace(old, new, 1))
    assert faults(said(FILE), expected) == []


@pytest.mark.parametrize("slip", ROWS)
def test_a_bad_row_is_one_line_with_file_place_and_a_good_row(slip: str, here: Path) -> None:
    last, expected = ROWS[slip]
    mine(here, last=last)
    assert faults(said(FILE), rf"({re.escape(str(here))}/)?{expected}") == []


@pytest.mark.parametrize("slip", ORDERS)
def test_words_in_another_order_are_one_line_with_the_right_one(slip: str, here: Path) -> None:
    mine(here)
    words, expected = ORDERS[slip]
    assert faults(said(words), expected) == []


def test_a_home_folder_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine(here, MINE.replace("path: model", "path: ~/model").replace("adapter: adapter", "adapter: ~/adapter"))
    shutil.move(here / "model", here / "home/model")
    shutil.move(here / "adapter", here / "home/adapter")
    assert str(said(FILE)).startswith("recipes.brought.adapter: found no")
    monkeypatch.setenv("HOME", str(here / "home"))
    assert said(FILE) is None


# The same by Snakemake itself: what its profile catches before it reads a file, and what the rule files refuse.

COMMANDS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "order": (
        {},
        ["--configfile", "overlay.yaml", "check"],
        r"config: --configfile takes every word after it, so 'check'",
    ),
    "key": (
        {"trigger": {"kapa": 2}},
        ["check", "--configfile", "overlay.yaml"],
        r"config: unknown key `trigger\.kapa`; .* \(ove",
    ),
    "results that are a file": (
        {"study": {"results": "overlay.yaml"}},
        ["check", "--configfile", "overlay.yaml"],
        r"check: study\.results is 'overlay\.yaml', where nothing can be written \(.*\); .* \(overlay\.yaml:2\)",
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_snakemake_says_it_in_one_line(case: str, tmp_path: Path) -> None:
    change, words, expected = COMMANDS[case]
    done = Workflow(tmp_path, {}).plainly(*words, change=change)
    ours = [line for line in done.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert done.returncode == 1
    assert len(ours) == 1, done.stderr
    assert faults(ours[0], expected) == []


def test_what_a_study_costs_is_said_while_it_runs(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path, SMALLEST, ("workflow/demo.yaml",))
    claim = Claim(tmp_path / "results" / resume.RUN, "the folder results")
    try:
        asked = workflow.snakemake("check", "estimate", "--cores", "1")
        wanted = workflow.snakemake("problems", "--cores", "1")
    finally:
        claim.release()
    assert (asked.returncode, wanted.returncode) == (0, 1)
    assert "nothing in the way" in asked.stdout
    assert "CPU time in all" in asked.stdout
    assert "check: the folder results is being written by process " in wanted.stdout + wanted.stderr

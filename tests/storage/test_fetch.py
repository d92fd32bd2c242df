"""Fetching from the hub, against one made of folders: the right files at the right commit, and no network elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dpc.config.settings import load_config
from dpc.errors import DpcError
from dpc.pipeline import check, cli
from dpc.storage import hub as fetch
from tests.support import config_tree as tree
from tests.support.paths import ROOT
from tests.support.workflow import Workflow, nested, overlay

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FAKE = '''
"""A hub made of folders: $FAKE_HUB/<owner>/<name>/<commit or branch>."""
import fnmatch, os, shutil
from pathlib import Path
from types import SimpleNamespace


class RevisionNotFoundError(Exception):
    pass


class GatedRepoError(Exception):
    pass


def _folder(repo, revision):
    folder = Path(os.environ["FAKE_HUB"], repo, revision)
    if not folder.is_dir():
        raise RevisionNotFoundError("404")
    return folder


def _files(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


class HfApi:
    def model_info(self, repo, revision, timeout=None):
        folder = _folder(repo, revision)
        files = [SimpleNamespace(rfilename=f) for f in _files(folder)]
        return SimpleNamespace(sha=folder.resolve().name, siblings=files)

    dataset_info = model_info


def hf_hub_download(repo_id, filename, repo_type, revision, local_dir):
    folder = _folder(repo_id, revision)
    if "gated" in repo_id:
        raise GatedRepoError("403")
    target = Path(local_dir, filename)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / filename, target)
    return str(target)


def snapshot_download(repo_id, repo_type, revision, local_dir, allow_patterns, ignore_patterns):
    for name in _files(_folder(repo_id, revision)):
        allowed, ignored = (any(fnmatch.fnmatch(name, p) for p in ps) for ps in (allow_patterns, ignore_patterns))
        if allowed and not ignored:
            hf_hub_download(repo_id, name, repo_type, revision, local_dir)
'''
FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "model-1.safetensors",
    "model.safetensors.index.json", "chat_template.jinja",
)  # fmt: skip
OTHERS = ("pytorch_model.bin", "consolidated.safetensors", "original/params.json", "modeling_own.py", "README.md")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub with a model, a model that is only pickled, one that asks for a licence, and a dataset."""
    root, package = tmp_path / "hub", tmp_path / "packages/huggingface_hub"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE)
    for repository, files in {
        "own/model": (*FILES, *OTHERS), "own/pickled": ("config.json", "pytorch_model.bin"), "own/gated": FILES,
        "own/rows": ("main/train.parquet", "main/test.parquet"),
    }.items():  # fmt: skip
        for name in files:
            (root / repository / COMMIT / name).parent.mkdir(parents=True, exist_ok=True)
            (root / repository / COMMIT / name).write_text(name)
        (root / repository / "main").symlink_to(COMMIT)
    monkeypatch.setenv("FAKE_HUB", str(root))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), str(ROOT)]))
    return root


def fetched(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dpc.storage.hub", *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)


def test_a_model_comes_without_pickles_code_and_second_copies(hub: Path, tmp_path: Path) -> None:
    done = fetched("model", "--hub", "own/model", "--revision", "main", "--folder", str(tmp_path / "m"))
    assert done.returncode == 0, done.stderr
    assert {f.name for f in (tmp_path / "m").iterdir()} == {*FILES, fetch.ORIGIN}
    known = fetch.origin(tmp_path / "m")
    assert known == {"hub": "own/model", "revision": "main", "commit": COMMIT}


@pytest.mark.parametrize(
    ("repository", "revision", "said"),
    [
        ("own/model", "v9", "own/model at revision 'v9': the hub knows no such revision of own/model"),
        ("own/nothing", "main", "own/nothing at revision 'main': the hub knows no such"),
        ("own/gated", COMMIT, "asks for a licence: accept it on its page and log in with `hf auth login`"),
        ("own/pickled", "main", "own/pickled: found no safetensors file at main"),
    ],
)
def test_what_the_hub_refuses_is_one_line_and_leaves_no_whole_model(
    hub: Path, tmp_path: Path, repository: str, revision: str, said: str
) -> None:
    done = fetched("model", "--hub", repository, "--revision", revision, "--folder", str(tmp_path / "m"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "m/config.json").exists()


def test_the_rules_fetch_what_the_configuration_names(hub: Path, tmp_path: Path) -> None:
    rows = {"id": "own/rows", "revision": COMMIT, "train": ["main/train.parquet"], "test": ["main/test.parquet"]}
    change = overlay(
        {"models": {"own": {"hub": "own/model", "revision": "main", "parameters": 0.001}}},
        nested("datasets.own", {"task": "gsm8k", "hub": rows, "template": "{question}"}),
    )
    workflow = Workflow(tmp_path / "work", change)
    wanted = ["resources/models/own/config.json", "resources/datasets/own/main/test.parquet"]
    done = workflow.snakemake(*wanted, "-c1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(workflow.folder / file).read_text() for file in wanted] == ["config.json", "main/test.parquet"]
    assert fetch.origin(workflow.folder / wanted[1])["commit"] == COMMIT
    assert not (workflow.folder / "resources/datasets/own/main/train.parquet").exists()


def test_the_check_prints_a_command_with_the_users_configuration(hub: Path, tmp_path: Path) -> None:
    absent = {"hub": "own/nothing", "revision": "main", "parameters": 0.001}
    workflow = Workflow(tmp_path / "work", {"models": {"own": absent}, "study": {"models": ["own"]}})
    done = workflow.snakemake("check", "-c1")  # not --cores: a warm server would keep the pretended hub
    (said,) = re.findall(r"`(snakemake .*)`", done.stdout)
    assert re.fullmatch(r"snakemake --configfile .* overlay\.yaml --cores 1 -- resources/models/own/config\.json", said)


def test_without_a_network_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(DpcError, match=r"the hub cannot be reached \(no route to host\); correct `models`"):
        fetch.fetch("model", "own/model", "main", tmp_path)


def test_every_stage_is_offline() -> None:
    code = (
        "import os\nfrom dpc.pipeline import cli\ntry:\n    cli.main(['write_tables'])\nexcept SystemExit:\n    pass\n"
        "import huggingface_hub.constants as c\nprint(c.HF_HUB_OFFLINE, os.environ['TRANSFORMERS_OFFLINE'])"
    )
    clean = {key: value for key, value in os.environ.items() if key not in cli.OFFLINE}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=clean, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "1"]


@pytest.mark.parametrize(
    ("revision", "is_pinned"), [(COMMIT, True), ("main", False), ("v1.0", False), (COMMIT[:12], False)]
)
def test_what_may_move_is_told(revision: str, is_pinned: bool) -> None:
    raw = overlay(tree.config(), nested("models.llama3-8b.revision", revision))
    notes = check.unpinned(load_config(raw))
    assert bool(notes) != is_pinned
    assert all(f"models.llama3-8b.revision is {revision!r}, which is no commit" in note for note in notes)


def test_the_shipped_configuration_is_pinned() -> None:
    assert check.unpinned(load_config(tree.config())) == []


def test_a_local_folder_is_its_own_origin(tmp_path: Path) -> None:
    assert fetch.origin(tmp_path) == {"path": str(tmp_path)}
    (tmp_path / fetch.ORIGIN).write_text(json.dumps({"hub": "a", "revision": "b", "commit": "c"}))
    assert fetch.origin(tmp_path / "main/test.parquet")["commit"] == "c"

"""`snakemake check` on the login node: what would fail after hours in a queue fails in seconds, in one line."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dpc import check
from dpc.errors import DpcError
from dpc.settings import Config, load_config
from tests import config_tree as tree
from tests.workflow import ROOT, Workflow, nested, overlay

CONTEXT = 4096


class GatedRepoError(Exception):
    """Named as the hub's own."""


class RevisionNotFoundError(Exception):
    """Named as the hub's own."""


def paper(*changes: tuple[str, Any]) -> Config:
    config = tree.config()
    for key, value in changes:
        config = overlay(config, nested(key, value))
    return load_config(config)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A hub that has everything, until told otherwise; nothing is fetched yet."""
    import huggingface_hub

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check, "SPARE_GB", 0.0)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1e15))
    state = SimpleNamespace(error=None, weights="model.safetensors", context=CONTEXT, absent="", asked=[])

    def info(name: str, **more: Any) -> SimpleNamespace:
        state.asked.append(name)
        if state.error:
            raise state.error
        files = [state.weights, "config.json"]
        for dataset in paper().datasets.values():
            files += [*dataset.hub.train, *dataset.hub.test] if dataset.hub else []
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=f) for f in files if f != state.absent])

    def download(name: str, file: str, local_dir: str, **more: Any) -> str:
        target = Path(local_dir, file)
        target.write_text(json.dumps({"max_position_embeddings": state.context}))
        return str(target)

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=info, dataset_info=info))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return state


def test_a_reachable_hub_is_asked_for_everything_absent(hub: SimpleNamespace) -> None:
    config = paper()
    check.check(config)
    models = [config.models[name].hub for name in config.study.models]
    datasets = [config.datasets[name].hub.id for name in config.study.datasets]  # type: ignore[union-attr]
    assert sorted(hub.asked) == sorted([*models, *datasets])


def test_only_what_will_be_fetched_is_asked_for(hub: SimpleNamespace) -> None:
    check.check(paper(), {"llama3-8b", "aqua"})
    assert hub.asked == ["meta-llama/Meta-Llama-3-8B-Instruct", "deepmind/aqua_rat"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"error": ConnectionError("no route")}, r"the hub cannot be reached \(no route\); fetch them where there is"),
        ({"error": GatedRepoError("403")}, "asks for a licence: accept it on its page and log in with `hf auth login`"),
        ({"error": RevisionNotFoundError("404")}, "the hub knows no such revision of meta-llama/Llama-2-13b-hf"),
        ({"weights": "model.bin"}, "has no safetensors file"),
        ({"context": 256}, r"found a context of 256 tokens, expected 712 \(100 vectors, 100 for a question, 512 new\)"),
        ({"absent": "main/test-00000-of-00001.parquet"}, "openai/gsm8k has no file 'main/test-00000-of-00001.parquet'"),
    ],
    ids=["offline", "licence", "revision", "no safetensors", "context", "file"],
)
def test_what_is_wrong_on_the_hub_is_one_line(hub: SimpleNamespace, change: dict[str, Any], said: str) -> None:
    vars(hub).update(change)
    with pytest.raises(DpcError, match=said) as error:
        check.check(paper())
    assert "\n" not in str(error.value)


def test_what_to_type_has_the_users_configuration(hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.error = ConnectionError("no route")
    for files, words in (
        ("", "snakemake --cores 1"),
        ("a.yaml b.yaml", "snakemake --configfile a.yaml b.yaml --cores 1"),
    ):
        monkeypatch.setenv("DPC_CONFIGFILES", files)
        with pytest.raises(DpcError, match=f"`{words} -- resources/models/llama2-13b/config.json`"):
            check.check(paper())
        with pytest.raises(DpcError, match=f"`{words} -- resources/datasets/aqua/raw/"):
            check.check(paper(), {"aqua"})


def test_a_local_folder_needs_weights_and_tokenizer(hub: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": CONTEXT}))
    config = paper(("models.own", {"path": str(folder)}), ("study.models", ["own"]))
    with pytest.raises(DpcError, match=r"models\.own: found no safetensors weights in"):
        check.check(config, set())
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(DpcError, match=r"models\.own: found no tokenizer in"):
        check.check(config, set())
    (folder / "tokenizer.json").touch()
    check.check(config, set())


def test_a_chat_needs_a_chat_template(hub: SimpleNamespace, tmp_path: Path) -> None:
    said = r"models\.llama3-8b: found no chat template in its tokenizer, expected one for datasets\.aqua\.formats"
    chat = paper(("datasets.aqua.formats", {"llama3-8b": "chat"}))
    with pytest.raises(DpcError, match=said):
        check.check(chat)
    folder = tmp_path / "resources/models/llama3-8b"
    folder.mkdir(parents=True)
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / file).write_text("{}")
    with pytest.raises(DpcError, match=said):
        check.check(chat)
    (folder / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    check.check(chat)


def test_worked_examples_count_to_the_context(hub: SimpleNamespace) -> None:
    long = paper(("datasets.gsm8k.formats", {"llama2-13b": "plain_4_shot"}), ("formats.plain_4_shot.shots", 10))
    with pytest.raises(DpcError, match=r"expected 4272 \(100 vectors, 3660 for a question, 512 new\)"):
        check.check(long)


def test_a_nearly_full_disk_is_refused(hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1.5e9))
    with pytest.raises(DpcError, match=r"results/paper: found 1\.5 GB free, expected .* GB; make room"):
        check.check(paper())


@pytest.mark.parametrize(("target", "said"), [("check", "nothing in the way"), ("estimate", "CPU hours in all")])
def test_both_targets_answer_in_seconds_when_typed_as_the_cluster_page_prints_them(
    tmp_path: Path, target: str, said: str
) -> None:
    (words,) = re.findall(rf"^snakemake (.*{target}) +#", (ROOT / "docs/cluster.md").read_text(), re.MULTILINE)
    started = time.monotonic()
    done = Workflow(tmp_path, {}).snakemake(*words.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert said in done.stdout
    assert time.monotonic() - started < 30

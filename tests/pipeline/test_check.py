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

from dpc.config.settings import Config, load_config
from dpc.errors import DpcError
from dpc.pipeline import check, check_models, cost
from dpc.storage.weight_files import counted
from tests.support import config_tree as tree
from tests.support import model_folders
from tests.support.paths import ROOT
from tests.support.workflow import Workflow, nested, overlay, slowness

CONTEXT = 4096
LARGE = {"max_position_embeddings": CONTEXT, "num_hidden_layers": 32}
LLAMA = model_folders.config(**LARGE)


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
    state = SimpleNamespace(error=None, weights="model.safetensors", absent="", asked=[], config=dict(LLAMA))

    def info(name: str, **more: Any) -> SimpleNamespace:
        state.asked.append(name)
        if state.error:
            raise state.error
        files = [state.weights, "config.json", "tokenizer.json"]
        for dataset in paper().datasets.values():
            files += [*dataset.hub.train, *dataset.hub.test] if dataset.hub else []
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=f) for f in files if f != state.absent])

    def download(name: str, file: str, local_dir: str, **more: Any) -> str:
        target = Path(local_dir, file)
        target.write_text(json.dumps(state.config))
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
        ({"weights": "original/model.safetensors"}, "has no safetensors file"),
        ({"absent": "tokenizer.json"}, r"models\.llama2-13b: meta-llama/Llama-2-13b-hf has no tokenizer\.json"),
        (
            {"config": LLAMA | {"model_type": "phi3"}},
            r"models\.llama2-13b: model_type 'phi3' is not supported; expected ",
        ),
        ({"config": {}}, r"models\.llama2-13b: model_type None is not supported"),
        (
            {"config": LLAMA | {"max_position_embeddings": 256}},
            r"found a context of 256 tokens, expected 712 \(100 vectors, 100 for a question, 512 new\)",
        ),
        ({"absent": "main/test-00000-of-00001.parquet"}, "openai/gsm8k has no file 'main/test-00000-of-00001.parquet'"),
    ],
    ids=["offline", "licence", "revision", "pickled", "elsewhere", "tokenizer", "family", "none", "context", "file"],
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
    whole = model_folders.write(tmp_path / "whole", **LARGE)
    folder = tmp_path / "own"
    folder.mkdir()
    shutil.copy(whole / "config.json", folder)
    config = paper(("models.own", {"path": str(folder)}), ("study.models", ["own"]))
    with pytest.raises(
        DpcError, match=r"models\.own: .*own: found no safetensors file, expected model\.safetensors or"
    ):
        check.check(config, set())
    shutil.copy(whole / "model.safetensors", folder)
    with pytest.raises(DpcError, match=r"models\.own: .*own: found no tokenizer\.json; write the file with"):
        check.check(config, set())
    shutil.copy(whole / "tokenizer.json", folder)
    check.check(config, set())


def test_a_chat_needs_a_chat_template(hub: SimpleNamespace, tmp_path: Path) -> None:
    said = r"models\.llama3-8b: found no chat template in its tokenizer, expected one for datasets\.aqua\.formats"
    chat = paper(("datasets.aqua.formats", {"llama3-8b": "chat"}))
    with pytest.raises(DpcError, match=said):
        check.check(chat)
    folder = model_folders.write(tmp_path / "resources/models/llama3-8b", **LARGE)
    model_folders.write_tokenizer(folder, chat_template=...)
    with pytest.raises(DpcError, match=said):
        check.check(chat)
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    check.check(chat)


def local(tmp_path: Path, family: str = "llama", **config: Any) -> Config:
    """Return a study of one local model folder that is whole, with such a config."""
    folder = model_folders.write(tmp_path / "own", family, **LARGE, **config)
    return paper(("models.own", {"path": str(folder)}), ("study.models", ["own"]))


def test_a_family_that_is_not_proved_is_refused_in_a_local_folder(hub: SimpleNamespace, tmp_path: Path) -> None:
    config = local(tmp_path, "qwen3")
    check.check(config, set())
    (tmp_path / "own/config.json").write_text(json.dumps({**LLAMA, "model_type": "phi3"}))
    said = r"models\.own: .*config\.json: model_type 'phi3' is not supported; expected one of gemma2, lla"
    with pytest.raises(DpcError, match=said):
        check.check(config, set())


@pytest.mark.parametrize("kernel", ["auto", "eager", "sdpa"])
def test_a_kernel_that_the_family_cannot_run_is_refused(hub: SimpleNamespace, tmp_path: Path, kernel: str) -> None:
    gemma = load_config(overlay(local(tmp_path, "gemma2").model_dump(), nested("models.own.attention", kernel)))
    if kernel != "sdpa":
        check.check(gemma, set())
        return
    with pytest.raises(
        DpcError, match=r"models\.own: sdpa cannot compute what gemma2 does; write models.NAME.attention: eager"
    ):
        check.check(gemma, set())


def test_a_model_that_only_reads_prompts_has_to_load_and_to_be_there(hub: SimpleNamespace, tmp_path: Path) -> None:
    """Its layers, context and chat template are nobody's concern."""
    folder = model_folders.write(tmp_path / "reader", num_hidden_layers=1, max_position_embeddings=8)
    reads = ("models.reader", {"path": str(folder)}), ("interpretability.reader", "reader")
    chat = ("datasets.gsm8k.formats", {"reader": "chat"})
    model_folders.write_tokenizer(folder, chat_template=...)
    check.check(paper(*reads, chat), set())
    model_folders.edit(folder, num_hidden_layers=2)
    with pytest.raises(DpcError, match=r"models\.reader: .*reader: its weights lack model\.layers\.1"):
        check.check(paper(*reads), set())
    fetched = paper(("models.reader", {"hub": "x/y", "revision": "main", "parameters": 3.0}), reads[1])
    assert fetched.models["reader"] in check_models.check_models(fetched, None, {})
    check.check(fetched, {"reader"})
    assert hub.asked[-1] == "x/y"
    hub.config["model_type"] = "phi3"
    with pytest.raises(DpcError, match=r"models\.reader: model_type 'phi3' is not supported"):
        check.check(fetched, {"reader"})


RANGES = ["flow.shallow_layers", "flow.deep_layers", "saliency.band", "act.layers", "sensitivity.layers"]


@pytest.mark.parametrize("key", RANGES)
@pytest.mark.parametrize("where", ["hub", "fetched", "embedded"])
def test_a_layer_range_outside_a_model_is_refused_wherever_it_lies(
    hub: SimpleNamespace, tmp_path: Path, key: str, where: str
) -> None:
    hub.config["num_hidden_layers"] = 4
    if where == "fetched":
        model_folders.write(tmp_path / "resources/models/tried", num_hidden_layers=4, max_position_embeddings=CONTEXT)
    model = {"builtin": {"layers": 4}} if where == "embedded" else tree.config()["models"]["mistral-7b"]
    for last in (3, 4):
        spec = ["all", [1, last]] if key == "sensitivity.layers" else [1, last]
        config = paper(("models.tried", model), (key, spec), ("study.models", ["tried"]))
        if last == 3:
            check.check(config)
            continue
        with pytest.raises(DpcError, match=rf"^{key}(\[1\])?, model tried: layer range \[1, 4\] does not lie in the"):
            check.check(config)


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9976576152\n",
        b"",
        b"\x02",
        (90).to_bytes(8, "little") + b'{"a": {"dtype": "F32"',
        (21).to_bytes(8, "little") + b'{"a": {"dtype": "F32"',
        (2).to_bytes(8, "little") + b"[]",
        (9).to_bytes(8, "little") + b'{"a": {}}',
    ],
    ids=["pointer", "empty", "one byte", "cut short", "no JSON", "no map", "no shape"],
)
def test_weights_that_are_none_are_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(
        DpcError, match=r"model\.safetensors: found no whole safetensors file in [\d,]+ bytes \(.+\); exp.*git lfs"
    ):
        counted(tmp_path)


def test_weights_that_are_cut_short_are_refused(tmp_path: Path) -> None:
    header = b'{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}'
    whole = len(header).to_bytes(8, "little") + header + bytes(12)
    (tmp_path / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(DpcError, match="found no whole safetensors file in 81 bytes"):
        counted(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(whole)
    assert counted(tmp_path) * 1e9 == pytest.approx(3)


@pytest.mark.parametrize("text", ["", "{", "[]", "version https://git-lfs.github.com/spec/v1"])
def test_a_config_that_is_no_map_is_one_line(text: str, hub: SimpleNamespace, tmp_path: Path) -> None:
    config = local(tmp_path)
    (tmp_path / "own/config.json").write_text(text)
    for look in (lambda: check.check(config, set()), lambda: check_models.depth("own", config.models["own"])):
        with pytest.raises(DpcError, match=r"own/config\.json: found no JSON map; expected transformers' model config"):
            look()


@pytest.mark.parametrize("key", ["recipe", "harmful_recipe"])
def test_planted_harm_needs_a_prompt_of_its_own_for_every_seed(key: str) -> None:
    for adapter in (None, "a/{seed}", "a/{model}"):
        config = paper(
            ("recipes.brought", {"adapter": adapter, "layout": "bos_first"}), (f"validation.{key}", "brought")
        )
        if adapter != "a/{model}":
            check.check_validation(config)
            continue
        with pytest.raises(
            DpcError, match=rf"recipes\.brought\.adapter is 'a/{{model}}', .* or another validation\.{key}"
        ):
            check.check_validation(config)


@pytest.mark.parametrize("key", ["recipe", "harmful_recipe"])
def test_planted_harm_needs_one_prompt_for_all_questions(key: str) -> None:
    config = paper(("recipes.mixed", {"tuner": "mixture"}), (f"validation.{key}", "mixed"))
    with pytest.raises(DpcError, match=rf"validation\.{key} is mixed, whose tuner makes a prompt for each question"):
        check.check_validation(config)


def test_worked_examples_count_to_the_context(hub: SimpleNamespace) -> None:
    long = paper(("datasets.gsm8k.formats", {"llama2-13b": "plain_4_shot"}), ("formats.plain_4_shot.shots", 10))
    with pytest.raises(DpcError, match=r"expected 4272 \(100 vectors, 3660 for a question, 512 new\)"):
        check.check(long)


def test_a_nearly_full_disk_is_refused(hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1.5e9))
    with pytest.raises(DpcError, match=r"results/paper: found 1\.5 GB free, expected .* GB; make room"):
        check.check(paper())


def test_what_is_made_already_needs_no_room(hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = cost.disk_gb(paper()) * 1e9
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=wanted / 2))
    made = Path("results/paper/m/d/saliency.parquet")
    made.parent.mkdir(parents=True)
    for size, fits in ((wanted / 3, False), (wanted * 2 / 3, True), (wanted * 2, True)):
        with made.open("wb") as file:
            file.truncate(int(size))
        if fits:
            check.check_disk(paper(), 0.0)
        else:
            with pytest.raises(DpcError, match="make room"):
                check.check_disk(paper(), 0.0)


@pytest.mark.parametrize(("target", "said"), [("check", "nothing in the way"), ("estimate", "of CPU time in all")])
def test_both_targets_answer_in_seconds_when_typed_as_the_cluster_page_prints_them(
    tmp_path: Path, target: str, said: str
) -> None:
    (words,) = re.findall(rf"^snakemake ({target} .*?) +#", (ROOT / "docs/cluster.md").read_text(), re.MULTILINE)
    started = time.monotonic()
    done = Workflow(tmp_path, {}).snakemake(*words.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert said in done.stdout
    assert time.monotonic() - started < 30 * slowness()


def test_what_it_costs_may_be_asked_where_it_would_not_fit(tmp_path: Path) -> None:
    large = Workflow(tmp_path, {"datasets": {"arithmetic": {"splits": {"test": 10**9}}}})
    checked, estimated = (large.snakemake("--cores", "1", name) for name in ("check", "estimate"))
    assert "GB free, expected" in checked.stderr
    assert (checked.returncode, estimated.returncode) == (1, 0), estimated.stderr

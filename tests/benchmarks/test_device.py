"""The figures of a device: the batch search, what memory running out does, rows that replace rows, the page; and
whether bfloat16's trigger is compared with float32's as it should be."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from benchmarks import card, device, models, trigger
from benchmarks.device_page import page
from dpc.config.execution import Execution
from dpc.config.settings import Trigger
from dpc.errors import DpcError
from dpc.lm import builtin
from dpc.prompts import soft_prompt
from dpc.storage import tables
from tests.support import tiny

SHAPE = {
    **{"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    **{"hidden_size": 32, "intermediate_size": 48, "vocab_size": 50, "tie_word_embeddings": False},
}
COMMON = {"device": "cpu", "dtype": "float32", "threads": 1, "repeats": 2, "vectors": 5}
CASE = device.Case("time", "tiny", "lean", 24, **COMMON)
RULE = Trigger(grid=[0.2, 0.5])


@pytest.fixture(autouse=True)
def _tiny_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    known = models.shape
    monkeypatch.setattr(models, "shape", lambda name: dict(SHAPE) if name == "tiny" else known(name))


@pytest.mark.parametrize("most", [1, 2, 7, 8, 40])
def test_the_largest_batch_is_found_in_few_tries(most: int) -> None:
    for limit in range(most + 3):
        tried: list[int] = []
        found = device.largest(lambda rows, limit=limit, tried=tried: tried.append(rows) or rows <= limit, most)
        assert found == min(limit, most)
        assert len(tried) == len(set(tried)) <= 2 * most.bit_length() + 1
        assert max(tried) <= min(most, max(1, 2 * limit))


@pytest.mark.parametrize("method", device.MEASURED)
def test_each_method_is_timed_on_a_fresh_model(method: str) -> None:
    found = device.one(device.replace(CASE, method=method))
    assert len(found["seconds"]) == 2
    assert min(found["seconds"]) > 0
    assert found["peak_mb"] is not None
    assert found["name"]
    layer = (
        2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32
    )  # queries and outputs, keys and values, feed-forward, norms
    assert found["weights_mb"] == 4 * (2 * layer + 2 * 50 * 32 + 32) / 2**20


def test_models_are_made_in_the_dtype_asked_for() -> None:
    model = models.made("tiny", dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.config.num_key_value_heads == 2
    assert torch.get_default_dtype() == torch.float32
    halves = device.one(device.replace(CASE, dtype="bfloat16"))["weights_mb"]
    assert halves == device.one(CASE)["weights_mb"] / 2


def test_memory_that_runs_out_is_a_finding_and_other_errors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(error: Exception) -> Any:
        def method(lm: Any, batch: Any, args: Any) -> None:
            if batch.embeds_BSD.shape[0] > 3 or batch.embeds_BSD.shape[1] == CASE.length:
                raise error

        return method

    monkeypatch.setitem(device.METHODS, "lean", fails(torch.OutOfMemoryError("CUDA out of memory")))
    assert device.one(CASE)["seconds"] == []
    assert device.one(CASE)["peak_mb"] is None
    lm = device.with_words(models.made("tiny"))
    longer = device.replace(CASE, length=CASE.length + 1)
    assert device.largest(lambda rows: device.seconds_of(lm, longer, rows) is not None, 16) == 3
    monkeypatch.setitem(device.METHODS, "lean", fails(RuntimeError("size mismatch")))
    with pytest.raises(RuntimeError, match="size mismatch"):
        device.one(CASE)


def test_a_fresh_process_finds_what_fits_into_its_room() -> None:
    case = device.Case("batch", "small", "eager", 256, **COMMON, most=2, room_mb=22)  # one row needs some 17
    assert device.in_own_process(case)["rows"] == 1
    with pytest.raises(DpcError, match="batch of eager, none, S = 256: FileNotFoundError"):
        device.in_own_process(device.replace(case, shape="none"))


def test_runs_of_a_case_become_one() -> None:
    runs = [{"seconds": [1.0, 2.0], "peak_mb": 5.0}, {"seconds": [3.0], "peak_mb": 7.0}]
    assert device.together(runs) == {"seconds": [1.0, 2.0, 3.0], "peak_mb": 7.0}
    assert device.together([*runs, {"seconds": [], "peak_mb": None}]) == {"seconds": [], "peak_mb": None}


def test_times_come_from_rounds_over_all_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [CASE, device.replace(CASE, method="eager"), device.replace(CASE, part="batch")]
    asked: list[device.Case] = []

    def run(case: device.Case) -> dict[str, Any]:
        asked.append(case)
        return {"rows": 3} if case.part == "batch" else {"seconds": [float(len(asked))], "peak_mb": 1.0}

    monkeypatch.setattr(device, "in_own_process", run)
    found = list(device.measured(cases, rounds=2))
    assert asked == [*cases[:2], *cases[:2], cases[2]]
    assert [row.get("seconds") for row in found] == [[1.0], [2.0], [1.0, 3.0], [2.0, 4.0], None]
    assert found[-1] == {**asdict(cases[2]), "rows": 3}


def row(name: str = "CPU", **more: Any) -> dict[str, Any]:
    case = asdict(CASE) | {"seconds": [2.0, 1.0, 4.0], "peak_mb": 50.0, "weights_mb": 1.0}
    return {"name": name, "torch": "2", **case, **more}


def test_rows_replace_rows_of_the_same_device_and_case_only(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    others = [row("GPU"), row(method="eager"), row(length=48), row(part="batch"), row(part="trigger", cell="a")]
    device.keep(file, [row(), *others])
    found = device.keep(file, [row(peak_mb=9.0), row(part="trigger", cell="b")])
    assert found == [row(peak_mb=9.0), *others, row(part="trigger", cell="b")]
    assert device.keep(file, []) == found


def test_the_page_names_the_device_and_says_what_is_missing() -> None:
    eager = row(method="eager", seconds=[4.0], peak_mb=200.0)
    text = page([row(), eager, row(part="batch", rows=6), row(part="batch", method="eager", rows=0)])
    assert "**No GPU was at hand" in text
    assert "## CPU" in text
    assert "| tiny | 24 | lean | 2.00 (1.00–4.00) | 0.50 | 50.0 | 0.25 | 6 |" in text
    assert "| tiny | 24 | eager | 4.00 (4.00–4.00) | – | 200 | – | 0 |" in text
    gpu = [row("H100", device="cuda", method="eager", seconds=[], peak_mb=None), row("H100", device="cuda")]
    text = page([row(), *gpu, row("H100", device="cuda", part="batch", rows=256)])
    assert "No GPU" not in text
    assert text.index("## H100") < text.index("## CPU")
    assert "| tiny | 24 | eager | does not fit | – | does not fit | – | – |" in text
    assert "| tiny | 24 | lean | 2.00 (1.00–4.00) | – | 50.0 | – | at least 256 |" in text


def readings(shares: list[float], eligible: list[bool] | None = None) -> pd.DataFrame:
    """Return readings of questions a, b, c, ... as far as the trigger looks at them."""
    columns = {
        "affected_share": shares,
        "eligible": eligible or [True] * len(shares),
        "accumulation_z": [1.0] * len(shares),
    }
    return pd.DataFrame({"problem_id": list("abcde")[: len(shares)], **columns})


def test_decisions_are_compared_question_by_question() -> None:
    single, half = readings([0.1, 0.3, 0.6, 0.55]), readings([0.3, 0.3, 0.1, 0.5]).iloc[::-1]
    found = trigger.compare(single, half, RULE, 0.3, None)
    assert found["grid"] == [[0.2, 2, 3], [0.3, 3, 2], [0.5, 2, 2]]  # R, alike, fired in float32: share > R strictly
    assert found["flips"] == [
        {"problem_id": "a", "float32": 0.1, "bfloat16": 0.3, "at": [0.2]},
        {"problem_id": "c", "float32": 0.6, "bfloat16": 0.1, "at": [0.2, 0.3, 0.5]},
        {"problem_id": "d", "float32": 0.55, "bfloat16": 0.5, "at": [0.5]},
    ]
    assert trigger.agreed(found) == 3
    assert trigger.lowest(found) == (0.2, 2, 3)
    assert not trigger.holds(found)


def test_what_can_never_fire_cannot_flip() -> None:
    none = trigger.compare(readings([0.1, 0.9]), readings([0.9, 0.9], [False, True]), RULE, None, None)
    assert none["grid"] == [[0.2, 2, 1], [0.5, 2, 1]]
    assert (trigger.agreed(none), none["flips"]) == (2, [])


@pytest.mark.parametrize(("alike", "holds"), [(95, True), (94, False)])
def test_ninety_five_of_a_hundred_is_enough(alike: int, holds: bool) -> None:
    found = {"questions": 100, "share": None, "grid": [[0.1, 100, 5], [0.2, alike, 3]], "flips": []}
    assert trigger.holds(found) is holds


def test_flips_stand_on_the_page() -> None:
    found = trigger.compare(readings([0.1, 0.3]), readings([0.3, 0.3]), RULE, None, None)
    checked = row(part="trigger", cell="m/d/r/seed0", model="llama", **found)
    text = page([checked])
    assert "in 0 of 1 cells" in text
    assert "| m/d/r/seed0 | llama | 2 | never fires | – | 1 | 0.2 | 1 |" in text
    assert "| m/d/r/seed0 | a | 0.100 | 0.300 | 0.2 |" in text
    assert "No question is decided otherwise" in page([checked | {"flips": []}])


def study(folder: Path) -> Path:
    """Write what the check needs of a study, with a tiny model and rationales drawn at random."""
    lm, generator = tiny.model(), torch.Generator().manual_seed(0)
    cell = folder / "m/d/r/seed0"
    (folder / "models/m").mkdir(parents=True)
    builtin.save(lm.model, folder / "models/m")
    prompt = (cell / "prompt/adapter_model.safetensors", cell / "prompt/adapter_config.json")
    soft_prompt.save(0.5 * torch.randn(4, 32, generator=generator), *prompt, "m", lm)
    keys = [f"q{i}" for i in range(12)]
    ids = [torch.randint(6, 90, (14,), generator=generator).tolist() for _ in keys]
    asked = pd.DataFrame({"problem_id": keys, "split": "test", "question": "", "prompt_text": "Q : A :", "source": ""})
    made = asked.assign(edit_id="base", token_ids=ids, text="", stop_reason="end", extracted="1", seconds=0.0, batch=0)
    made = made.assign(extracted_lenient="1", split=["calibration"] * 4 + ["test"] * 8)
    saliency = {"head_reduce": "abs_mean", "loss_span": "all", "band": "paper"}
    settings = {"trigger": {"grid": [0.1, 0.5]}, "locate": {}, "significance": {}}
    read = {"flow": {"deep_layers": [2, 2]}, "locate": {}}
    limits = {"share": 0.3, "net": 0, "accumulation_z_limit": 1.0, "s_ifp_limit": 1.0, "static_vector": -1, "note": ""}
    limits |= dict.fromkeys(("flow_constant", "flow_profile", "entropy_limit", "nll_limit", "attention_limit"))
    limits |= {"right_cases": 0, "calibration_questions": 4}
    measured = {"dtype": "float32", "layout": "bos_first", "task": "arithmetic", "saliency": saliency}
    tables.write(folder / "problems/d/questions.parquet", "questions", asked, {})
    tables.write(cell / "generations/1-of-1.parquet", "generations", made, {})
    tables.write(cell / "saliency/1-of-1.parquet", "saliency", tables.empty("saliency"), {"settings": measured})
    tables.write(cell / "flow.parquet", "flow", tables.empty("flow"), {"settings": read})
    tables.write(cell / "thresholds.parquet", "thresholds", pd.DataFrame([limits]), {"settings": settings})
    return folder


def test_a_studys_test_questions_are_measured_in_both_dtypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    compare = trigger.compare
    monkeypatch.setattr(trigger, "compare", lambda *given: seen.append(given) or compare(*given))
    (found,) = trigger.check(study(tmp_path), 6, Execution(device="cpu"))
    single, half, _, share, _ = seen[0]
    assert list(single["problem_id"]) == list(half["problem_id"]) == ["q4", "q5", "q6", "q7", "q8", "q9"]
    assert (single["affected_share"] > 0).any()  # the deep layer's flow is there, though it is not in the band
    difference = (single["nll"] - half["nll"]).abs()
    assert difference.max() > 1e-4  # bfloat16 it was
    assert difference.max() < 0.1 * single["nll"].max()
    assert (found["cell"], found["model"]) == ("m/d/r/seed0", "llama, 3 layers, 32 wide")
    assert (found["questions"], found["share"], share) == (6, 0.3, 0.3)
    assert [value for value, *_ in found["grid"]] == [0.1, 0.3, 0.5]


def test_a_folder_without_thresholds_is_named(tmp_path: Path) -> None:
    with pytest.raises(DpcError, match="found no thresholds; expected a finished study"):
        next(trigger.check(tmp_path, 5, Execution(device="cpu")))


def test_a_card_is_asked_the_cheapest_first_and_nothing_when_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ["--rows", str(tmp_path / "rows.jsonl"), "--page", str(tmp_path / "page.md")]
    args = card.arguments().parse_args(["--shape", "tiny", "--device", "cpu", *places, "--seconds", "10"])
    now, asked = [0.0], list[str]()

    def takes(name: str) -> Any:
        def ask(given: Any) -> dict[str, Any]:
            asked.append(name)
            now[0] += 3
            return {}

        return ask

    monkeypatch.setattr(card, "ASKED", {name: takes(name) for name in card.ASKED})
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    found = list(card.answers(args))
    assert asked == ["start", "same", "decode"]
    assert [line["asked"] for line in found if "left_out" in line] == ["evaluation", "saliency"]


@pytest.mark.proof
def test_drafts_and_an_evaluation_are_timed_on_a_model_made_where_it_runs() -> None:
    args = card.arguments().parse_args(["--shape", "small", "--device", "cpu"])
    found = card.decode(args)
    assert set(found) == {"plain", "right drafts", "wrong drafts"}
    assert min(each["tokens_per_second"] for each in found.values()) > 0
    parts = card.whole(args)["parts"]
    assert set(parts) == {"base", "trigger", "location", "regenerations"}
    assert card.start(args) == {"card_in_use": False}

"""What stages decide for themselves: reasoning steps, loss spans, exemplars, shards."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.config.settings import Saliency
from dpc.config.slices import ExtractSaliencyStage
from dpc.config.stages import VERSIONS
from dpc.pipeline.stages.choose_exemplars import choose
from dpc.pipeline.stages.extract_saliency import former_lengths, loss_start, steps_of
from dpc.storage.provenance import provenance
from dpc.storage.shards import of_shard
from tests.support import tiny
from tests.support.paths import ROOT

LM = tiny.model()
RATIONALE = "Mon buys 7 = 17 ; Tue doubles it = 34 ; #### 34"


class Characters:
    """A model whose tokens are characters: step ends may reach over two tokens."""

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


def stage(span: str) -> ExtractSaliencyStage:
    saliency = Saliency.model_validate({"loss_span": span})
    return ExtractSaliencyStage(dtype="float32", layout="bos_first", task="arithmetic", saliency=saliency)


def test_footers_carry_the_version_of_their_stage() -> None:
    assert {name: provenance(name, stage("all"))["version"] for name in VERSIONS} == VERSIONS
    calls = [text for file in (ROOT / "dpc/pipeline/stages").glob("*.py") for text in re.findall(
        r'provenance\("(\w+)"(.*)', file.read_text()
    )]  # fmt: skip
    assert {name for name, _ in calls} <= set(VERSIONS)
    assert not [name for name, more in calls if "version=" in more]


def test_a_step_ends_with_its_mark() -> None:
    assert steps_of(LM, "arithmetic", LM.encode(RATIONALE)) == [0] * 6 + [1] * 6 + [2] * 2


@pytest.mark.parametrize(
    ("task", "text", "steps"),
    [
        ("gsm8k", "ab\ncd\n\n#9", "000111122"),
        ("math", "ab. cd. e", "000011112"),
        ("math", "3.5 is. x", "000000001"),
        ("math", "a\nb $c.$ d? e", "0011111112223"),
    ],
)
def test_steps_of_characters(task: str, text: str, steps: str) -> None:
    found = steps_of(Characters(), task, [ord(c) for c in text])  # type: ignore[arg-type]
    words = {c: s for c, s in zip(text, found, strict=True) if c.isalnum()}
    assert words == {c: int(s) for c, s in zip(text, steps, strict=True) if c.isalnum()}
    assert found == sorted(found)


def test_halves_by_tokens_and_by_steps() -> None:
    assert former_lengths([0, 0, 0, 0, 1, 1, 2, 2, 2]) == (4, 4)
    assert former_lengths([0, 0, 1, 2, 3]) == (2, 3)
    assert former_lengths([0, 0, 0]) == (1, 0)


def test_the_answer_span_starts_with_its_mark() -> None:
    ids = LM.encode(RATIONALE)
    assert loss_start(LM, stage("all"), ids) == 0
    assert loss_start(LM, stage("answer"), ids) == 12
    assert loss_start(LM, stage("answer"), ids[:8]) == 7


def test_exemplars_are_nearest_the_median_of_their_class() -> None:
    graded = pd.DataFrame(
        {
            "problem_id": list("abcdefg"),
            "correct": [True, True, True, True, False, False, False],
            "tokens": [10, 20, 30, 2, 9, 11, 50],
        }
    )
    assert choose(graded) == {"right": "b", "wrong": "f"}
    assert choose(graded[graded["correct"]]) == {"right": "b"}
    assert choose(graded.sample(frac=1, random_state=3)) == choose(graded)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(min_size=1), unique=True, max_size=30), st.integers(1, 5))
def test_shards_part_the_questions_whatever_else_there_is(ids: list[str], shards: int) -> None:
    table = pd.DataFrame({"problem_id": pd.Series(ids, dtype=str)})
    parts = [list(of_shard(table, shard, shards)["problem_id"]) for shard in range(1, shards + 1)]
    assert sorted(key for part in parts for key in part) == sorted(ids)
    fewer = of_shard(table.iloc[::2], 1, shards)["problem_id"]
    assert set(fewer) <= set(parts[0])

"""What stages decide for themselves: reasoning steps, loss spans, exemplars, shards."""

from __future__ import annotations

import re

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.config.settings import Saliency
from dpc.config.slices import ExtractSaliencyStage
from dpc.config.stages import VERSIONS
from dpc.pipeline.stages import intervene
from dpc.pipeline.stages.choose_exemplars import choose
from dpc.pipeline.stages.extract_saliency import former_lengths, loss_start, steps_of
from dpc.storage.provenance import provenance
from dpc.storage.shards import of_shard
from dpc.tasks import get_task
from tests.readings import cases
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


def test_prompts_of_two_lengths_exchange_nothing(caplog: pytest.LogCaptureFixture) -> None:
    own_ND, short_ND, other_ND = torch.ones(4, 8), torch.zeros(3, 8), torch.zeros(4, 8)
    assert intervene._exchanged(own_ND, [other_ND]) is other_ND
    assert intervene._exchanged(own_ND, []) is None
    assert not caplog.records
    assert intervene._exchanged(own_ND, [short_ND]) is None
    assert "this prompt has 4 vectors, the other seed's 3: test path is not run" in caplog.text


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


SPANS = [
    # task, rationale with | behind the mark that its span begins at; none where the last token is the span
    ("gsm8k", "3 + 4 = 7\n####| 7"),
    ("gsm8k", "#### Step 1: add\n3 + 4 = 7\n#### Step 2: double\n7 x 2 = 14\n####| 14"),
    ("gsm8k", "#### Solution\n\n3 + 4 = 7\n\n####| **7**\n\nQuestion: another\n#### 9"),
    ("gsm8k", "#### 3 pens are too few, since 3 + 4 = 7\n####| 7"),
    ("gsm8k", "####| 7 pens because 3 + 4 = 7"),
    ("gsm8k", "####| 7 pens because 3 + 4 = 7\n#### 7 because of that sum too"),
    ("gsm8k", "#### Sum\n3 + 4\n####| Total cost: 7"),
    ("gsm8k", "##### Step 1\n3 + 4\n####|## Final Answer: 7"),
    ("gsm8k", "\\#\\#\\#\\# Sum\n3 + 4\n\\#\\#\\#\\#| 7"),
    ("gsm8k", "＃＃＃＃ Sum: $\\frac{1}{2}$\n＃＃＃＃| \\(\\boxed{9{,}500}\\)"),
    ("gsm8k", "<<3+4=7>>7 **so** it is\n#### *Answer* of step one\n####| 7"),
    ("gsm8k", "#### Sum\nno number"),
    ("gsm8k", "3 + 4 = 7"),
    ("gsm8k", "#### 7 because 3 + 4 = 7\n#### 8 because of the bag"),
    ("aqua", "#### Option by option\nA) 3 is wrong\n#### So\nB fits\n####| B"),
    ("aqua", "#### A is wrong because 3 is too few\n####| (b)"),
    ("aqua", "####| **C** 21\n\nQuestion: next\n#### D"),
    ("aqua", "#### Neither"),
    ("math", "First \\boxed{3}, then $\\boxed|{4}$."),
    ("math", "First \\fbox{3}, then \\boxed{4}, at last $\\fbox| 5$."),
    ("math", "$\\boxed|{\\frac{1}{2}}$. The word boxed stands here too."),
    ("math", "\\boxed{3} and then \\boxed{4"),
    ("math", "The answer is 4."),
    ("arithmetic", "Mon buys 7 = 17 ; ####| 17 #### 9"),
    ("arithmetic", "#### ; Mon buys 7 = 17 ; ####| 17"),
    ("arithmetic", "Mon buys 7 = 17 ; ####"),
]


@pytest.mark.parametrize(("task", "marked"), SPANS)
def test_the_answer_span_starts_with_the_mark_that_is_read(task: str, marked: str) -> None:
    before, bar, behind = marked.partition("|")
    text = before + behind
    measured = stage("answer").model_copy(update={"task": task})
    start = loss_start(Characters(), measured, [ord(c) for c in text])  # type: ignore[arg-type]
    assert start == (len(before) - 1 if bar else len(text) - 1)
    assert (get_task(task).extract(text)[0] is not None) == bool(bar)


@pytest.mark.parametrize("task", ["gsm8k", "aqua"])
def test_what_stands_behind_that_mark_reads_the_same_alone(task: str) -> None:
    """Also where other marks stand before it, and where the text is put into plain words first."""
    module = get_task(task)
    for text, *_ in cases(task):
        for shown in (text, f"#### Step 1: **think** of $\\frac{{1}}{{2}}$\nWell.\n{text}"):
            strict, end = module.extract(shown)[0], module.mark_end(shown)
            assert (strict is None) == (end is None), shown
            if end is not None:
                assert shown[end - 1] in "#＃", shown
                assert module.extract(f"####{shown[end:]}")[0] == strict, shown


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
